"""Progress on a terminal: of loading and of converting, made slow by stopping the program again and
again until it shows a bar.
"""

import os
import pty
import select
import signal
import subprocess
import time
import unittest

from harness import PROGRAM, TIMEOUT, CliTest

RUN, STOP = 0.0005, 0.1  # seconds
BAR = b"\r\x1b[K["


class Progress(CliTest):
    def terminal(self, *arguments):
        """What the command writes to a terminal on standard error."""
        leader, follower = pty.openpty()
        process = subprocess.Popen(
            [PROGRAM, *map(str, arguments)], stdout=subprocess.DEVNULL, stderr=follower
        )
        os.close(follower)
        shown, deadline = b"", time.monotonic() + TIMEOUT
        while process.poll() is None:
            self.assertLess(time.monotonic(), deadline, shown)
            if BAR not in shown:
                process.send_signal(signal.SIGSTOP)
                time.sleep(STOP)
                process.send_signal(signal.SIGCONT)
            time.sleep(RUN)
            if select.select([leader], [], [], 0)[0]:
                try:
                    shown += os.read(leader, 65536)
                except OSError:  # the other side is closed
                    pass
        try:
            while block := os.read(leader, 65536):
                shown += block
        except OSError:
            pass
        os.close(leader)
        self.assertEqual(process.returncode, 0, shown)
        return shown.decode()

    def test_loading(self):
        text = self.terminal("info")
        self.assertRegex(text, r"\r\x1b\[K\[#*-*\] \d+/\d+ tensors loaded")
        self.assertRegex(text, r"\r\x1b\[Kblip: model ")  # the bar is gone before the next line

    def test_converting(self):
        (info,) = self.ok("info", "--json").objects
        text = self.terminal("convert", info["path"], self.folder / "x.gguf", "--type", "q8_0")
        self.assertRegex(text, r"\r\x1b\[K\[#*-*\] \d+/\d+ tensors,")
        self.assertRegex(text, r"\r\x1b\[Kblip: wrote ")


if __name__ == "__main__":
    unittest.main()
