"""Progress on a terminal: of loading and of converting a model that takes a while."""
import json
import os
import pty
import shutil
import struct
import subprocess
import unittest

from harness import EMULATED, PROGRAM, SOURCE, TIMEOUT, CliTest


@unittest.skipIf(EMULATED, "takes minutes under an emulator")
class Progress(CliTest):
    def setUp(self):
        super().setUp()
        self.model = self.slow_model()

    def slow_model(self, mlp=65_536):
        """The unit tests' tiny model of every task with a feed-forward of this width, all zeros: a file of holes that takes no disk."""
        source, folder = SOURCE / "tests" / "data" / "model" / "combined", self.folder / "slow"
        shutil.copytree(source, folder)
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        old = config["text_config"]["intermediate_size"]
        config["text_config"]["intermediate_size"] = mlp
        (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
        data = (source / "model.safetensors").read_bytes()
        start = 8 + struct.unpack("<Q", data[:8])[0]
        table, at, pieces = json.loads(data[8:start]), 0, []
        for name, entry in table.items():
            if name == "__metadata__":
                continue
            first, last = entry["data_offsets"]
            wide = name.startswith("text") and (".intermediate.dense." in name or name.endswith(".output.dense.weight")) and old in entry["shape"]
            if wide:
                entry["shape"] = [mlp if size == old else size for size in entry["shape"]]
            else:
                pieces.append((at, data[start + first:start + last]))
            size = (last - first) // old * mlp if wide else last - first
            entry["data_offsets"] = [at, at + size]
            at += size
        head = json.dumps(table).encode()
        with open(folder / "model.safetensors", "wb") as file:
            file.write(struct.pack("<Q", len(head)) + head)
            for offset, piece in pieces:
                file.seek(8 + len(head) + offset)
                file.write(piece)
            file.truncate(8 + len(head) + at)
        return folder

    def terminal(self, *arguments):
        """What the command writes to a terminal on standard error."""
        leader, follower = pty.openpty()
        process = subprocess.Popen([PROGRAM, *map(str, arguments)], stdout=subprocess.DEVNULL, stderr=follower)
        os.close(follower)
        shown = b""
        while True:
            try:
                block = os.read(leader, 4096)
            except OSError:  # the other side is closed
                break
            if not block:
                break
            shown += block
        os.close(leader)
        self.assertEqual(process.wait(TIMEOUT), 0, shown)
        return shown.decode()

    def test_loading(self):
        self.assertRegex(self.terminal("info", "--model", self.model), r"\[#*-*\] \d+/\d+ tensors loaded")

    def test_converting(self):
        self.assertRegex(self.terminal("convert", self.model, self.folder / "x.gguf", "--type", "q8_0"), r"\[#*-*\] \d+/\d+ tensors,")


if __name__ == "__main__":
    unittest.main()
