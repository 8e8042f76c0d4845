"""What the tests of jobs share."""

import json
import shutil

from harness import CliTest, run, scene_path, scenes

FAST = ("--beams", 1, "--max-length", 8)


def captions_of(paths):
    """What the pictures are captioned with, by the command without a job."""
    out = run("caption", *paths, "/nonexistent", "--json", *FAST).objects
    return {o["image"]: o["caption"] for o in out if "caption" in o}


class JobTest(CliTest):
    def pictures(self, count, folder="pictures"):
        names = []
        for i in range(count):
            source = scenes()[i % len(scenes())]
            target = self.folder / folder / f"{i:04}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(scene_path(source), target)
            names.append(str(target))
        return names

    def rows(self, name="out.jsonl"):
        return [json.loads(line) for line in (self.folder / name).read_text("utf-8").splitlines()]

    def path(self, name="out.jsonl"):
        return str(self.folder / name)
