"""Trains the demo model from nothing. Resumable: run the same command again and it goes on from
--out/last.pt.

    python train.py --out run --minutes 95    # the learning rate falls to zero in that time
    python train.py --out run --steps 8000    # the same over a number of steps (repeatable)
"""

import argparse
import copy
import math
import os
import pathlib
import tempfile
import time

import torch
import torch.distributed as dist

import batches
import losses
from model import Blip

torch.multiprocessing.set_sharing_strategy("file_system")
FIRST_LESSON = 0.10  # share of the training that shows the vision tower crowds, before any text
WARM_UP = 0.012
BATCH = 64  # scenes per step, shared out among the processes


def options():
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("--out", type=pathlib.Path, required=True, help="folder for last.pt")
    p.add_argument("--minutes", type=float, help="length of the training by the clock")
    p.add_argument("--steps", type=int, help="length of the training by steps")
    p.add_argument("--rate", type=float, default=1e-3, help="peak learning rate")
    p.add_argument(
        "--places-from",
        type=float,
        default=FIRST_LESSON,
        help="share of the training after which patches learn places too",
    )
    p.add_argument(
        "--processes",
        type=int,
        default=2,
        help="training processes; one a core beats threads, most of all on a busy machine",
    )
    p.add_argument("--threads", type=int, default=1, help="compute threads of each process")
    p.add_argument("--save-every", type=float, default=4, help="minutes between checkpoints")
    p.add_argument(
        "--validate-every", type=float, default=6, help="minutes between looks at unseen scenes"
    )
    o = p.parse_args()
    if not o.minutes and not o.steps:
        p.error("give --minutes or --steps")
    if o.processes < 1 or BATCH % o.processes:
        p.error(f"--processes must divide {BATCH}")
    return o


class Run:
    """Everything a checkpoint holds, and the clock."""

    def __init__(self, o, rank=0):
        torch.manual_seed(1)
        self.o, self.path, self.rank = o, o.out / "last.pt", rank
        self.model = Blip()
        self.heads = losses.PatchHeads(self.model.config.width)
        self.average = copy.deepcopy(self.model).requires_grad_(False)
        self.optimizer = torch.optim.AdamW(self._groups(), lr=o.rate, betas=(0.9, 0.98), fused=True)
        self.step, self.seconds, self.scenes, self.crowd_steps = 0, 0.0, 0, None
        if self.path.exists():
            self._load()

    def _groups(self):
        named = [*self.model.named_parameters(), *self.heads.named_parameters()]
        groups = []
        seeing = ("vision.", "kind", "offset", "ground", "place", "twins")
        for role in ("vision", "text"):
            for decay, matrix in ((0.05, True), (0.0, False)):
                params = [
                    p
                    for n, p in named
                    if n.startswith(seeing) == (role == "vision") and (p.dim() > 1) == matrix
                ]
                groups.append({"params": params, "weight_decay": decay, "role": role})
        return groups

    def progress(self):
        return self.step / self.o.steps if self.o.steps else self.seconds / (60 * self.o.minutes)

    def rate(self, role):
        """Linear warm-up (the text roles' own one begins with their first lesson), then a cosine to
        zero.
        """
        p = min(1.0, self.progress())
        begin = FIRST_LESSON if role == "text" else 0.0
        warm = min(1.0, max(0.0, p - begin) / WARM_UP + 0.01)
        return self.o.rate * warm * (0.5 + 0.5 * math.cos(math.pi * p)) + 1e-7

    def save(self):
        self.o.out.mkdir(parents=True, exist_ok=True)
        state = {
            k: getattr(self, k).state_dict() for k in ("model", "heads", "average", "optimizer")
        }
        state["facts"] = {k: getattr(self, k) for k in ("step", "seconds", "scenes", "crowd_steps")}
        torch.save(state, self.path.with_suffix(".new"))
        self.path.with_suffix(".new").replace(self.path)

    def _load(self):
        state = torch.load(self.path, weights_only=True)
        for k in ("model", "heads", "average", "optimizer"):
            getattr(self, k).load_state_dict(state[k])
        for k, v in state["facts"].items():
            setattr(self, k, v)
        if self.rank == 0:
            print(f"resumed at step {self.step}, {self.seconds / 60:.1f} min", flush=True)

    @torch.no_grad()
    def update_average(self):
        decay = min(0.998, (1 + self.step) / (20 + self.step))
        torch._foreach_lerp_(
            list(self.average.parameters()), list(self.model.parameters()), 1 - decay
        )

    @torch.no_grad()
    def share_gradients(self):
        """Averages the gradients over the processes; the first one's clock goes with them, so that
        all agree on the time.
        """
        if self.o.processes == 1:
            return
        grads = [
            p.grad for g in self.optimizer.param_groups for p in g["params"] if p.grad is not None
        ]
        flat = torch.cat(
            [g.flatten() for g in grads] + [torch.tensor([self.seconds if self.rank == 0 else 0.0])]
        )
        dist.all_reduce(flat)
        self.seconds = float(flat[-1])
        for g, mean in zip(grads, (flat[:-1] / self.o.processes).split([g.numel() for g in grads])):
            g.copy_(mean.view_as(g))

    def learn(self, batch):
        """One step; returns the losses for the log."""
        with torch.autocast("cpu", torch.bfloat16):
            image = self.model.vision(batch["pixels"])
            loss, log = self.heads(image, batch, self.progress() >= self.o.places_from)
            if "enc" in batch:
                text, more = losses.text_losses(self.model, image, batch)
                loss, log = 0.4 * loss + text, log | more
        loss.backward()
        self.share_gradients()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0, foreach=True)
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate(group["role"])
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.update_average()
        return {k: float(v.detach()) for k, v in log.items()}


def stream(run):
    never = 1 << 40
    crowds = never if run.crowd_steps is None else run.crowd_steps
    data = batches.Stream(run.step, crowds, BATCH // run.o.processes, run.rank, run.o.processes)
    return iter(
        torch.utils.data.DataLoader(
            data,
            batch_size=None,
            num_workers=1,
            prefetch_factor=6,
            worker_init_fn=lambda _: torch.set_num_threads(1),
        )
    )


def validate(run):
    import evaluate

    result = evaluate.quick(run.average)
    print(
        f"  unseen scenes at {run.seconds / 60:.1f} min: "
        + ", ".join(f"{k} {v:.3f}" for k, v in result.items()),
        flush=True,
    )


class Log:
    """Mean losses since the last line."""

    def __init__(self, run):
        self.run = run
        self.clear()

    def clear(self):
        self.sums, self.step, self.since = {}, self.run.step, self.run.seconds

    def add(self, losses_):
        for k, v in losses_.items():
            self.sums.setdefault(k, []).append(v)
        if self.run.step % 50 == 0:
            means = "  ".join(f"{k} {sum(v) / len(v):.3f}" for k, v in self.sums.items())
            speed = (self.run.step - self.step) * BATCH / max(1e-9, self.run.seconds - self.since)
            print(
                f"step {self.run.step}  {self.run.seconds / 60:.1f} min  {speed:.0f} scenes/s  "
                f"{means}",
                flush=True,
            )
            self.clear()


def train(rank, o, meeting, parent):
    """One process of the training; the first also logs, saves and validates. Ends with its parent
    process.
    """
    torch.set_num_threads(o.threads)
    if o.processes > 1:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        dist.init_process_group(
            "gloo", init_method=f"file://{meeting}", rank=rank, world_size=o.processes
        )
    run = Run(o, rank)
    source, log = stream(run), Log(run)
    saved = validated = run.seconds
    clock = time.monotonic()
    while run.progress() < 1 and (o.processes == 1 or os.getppid() == parent):
        if run.crowd_steps is None and run.progress() >= FIRST_LESSON:
            run.crowd_steps = run.step
            source = stream(run)
        losses_ = run.learn(next(source))
        run.step += 1
        run.scenes += BATCH
        now = time.monotonic()
        run.seconds, clock = run.seconds + now - clock, now
        if rank == 0:
            log.add(losses_)
            if run.seconds - saved > 60 * o.save_every:
                run.save()
                saved = run.seconds
            if run.crowd_steps is not None and run.seconds - validated > 60 * o.validate_every:
                validate(run)
                validated, clock = run.seconds, time.monotonic()  # validation is not training time
    if rank == 0 and run.progress() >= 1:
        run.save()
        validate(run)
        print(
            f"done: {run.step} steps, {run.scenes} scenes, {run.seconds / 60:.1f} minutes",
            flush=True,
        )


def main():
    o = options()
    with tempfile.TemporaryDirectory() as folder:
        meeting = str(pathlib.Path(folder, "meeting"))
        if o.processes == 1:
            train(0, o, meeting, os.getpid())
        else:
            torch.multiprocessing.start_processes(
                train, (o, meeting, os.getpid()), nprocs=o.processes, start_method="fork"
            )


if __name__ == "__main__":
    main()
