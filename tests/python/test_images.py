"""Pictures of every kind that is taken, and what is refused."""

import gc
import io
import os
import pathlib
import unittest

import numpy as np

import blipcpp

SCENES = pathlib.Path(os.environ["BLIP_SOURCE"]) / "demo/scenes"
CLOCK = SCENES / "clock.png"
CAPTION = "a clock on a gray background"


class WithInterface:
    def __init__(self, array):
        self._array = array
        self.__array_interface__ = array.__array_interface__


class WithDlpack:
    def __init__(self, array, device=1):
        self._array, self._device = array, device

    def __dlpack__(self, **options):
        return self._array.__dlpack__()

    def __dlpack_device__(self):
        return (self._device, 0)


class Pictures(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.model = blipcpp.Model.load()
        cls.pixels = blipcpp.Image.open(CLOCK).to_numpy()

    def caption(self, picture):
        return str(self.model.caption(picture))

    def test_paths_and_bytes(self):
        data = CLOCK.read_bytes()
        for picture in (
            CLOCK,
            str(CLOCK),
            data,
            bytearray(data),
            memoryview(data),
            blipcpp.Image.open(CLOCK),
        ):
            self.assertEqual(self.caption(picture), CAPTION)

    def test_arrays(self):
        for picture in (
            self.pixels,
            WithInterface(np.array(self.pixels)),
            np.asfortranarray(self.pixels),
        ):
            self.assertEqual(self.caption(picture), CAPTION)
            self.assertTrue((blipcpp.Image.of(picture).to_numpy() == self.pixels).all())
        if hasattr(np, "from_dlpack"):
            self.assertEqual(self.caption(WithDlpack(np.array(self.pixels))), CAPTION)
        turned = self.pixels[::-1, ::-1]
        self.assertTrue((blipcpp.Image.of(turned).to_numpy() == turned).all())
        rows = self.pixels[::2]
        self.assertTrue((blipcpp.Image.of(rows).to_numpy() == rows).all())
        grey = np.arange(35, dtype=np.uint8).reshape(5, 7)
        for picture in (grey, grey[:, :, None]):
            self.assertTrue((blipcpp.Image.of(picture).to_numpy() == grey[:, :, None]).all())
        self.assertEqual(
            [str(c) for c in self.model.caption(np.stack([self.pixels] * 2))], [CAPTION] * 2
        )

    def test_pil(self):
        try:
            from PIL import Image
        except ImportError:
            self.skipTest("no Pillow here")
        with Image.open(CLOCK) as picture:
            self.assertEqual(self.caption(picture), CAPTION)
            exif = Image.Exif()
            exif[0x0112] = 6  # turned by 90 degrees
            file = io.BytesIO()
            picture.convert("RGB").save(file, "PNG", exif=exif)
            turned = Image.open(io.BytesIO(file.getvalue()))
            from_file = blipcpp.Image.open(file.getvalue()).to_numpy()
            self.assertTrue((blipcpp.Image.of(turned).to_numpy() == from_file).all())
            self.assertTrue((from_file == np.rot90(self.pixels, -1)).all())

            closed = Image.open(CLOCK)
            closed.close()
            cut = Image.open(io.BytesIO(file.getvalue()[: file.tell() // 2]))
            for broken in (closed, cut):
                with self.assertRaisesRegex(blipcpp.ImageError, "PIL"):
                    self.caption(broken)

    def test_background(self):
        try:
            from PIL import Image
        except ImportError:
            self.skipTest("no Pillow here")
        rgba = np.random.default_rng(1).integers(0, 256, (9, 8, 4), np.uint8)
        file = io.BytesIO()
        Image.fromarray(rgba, "RGBA").save(file, "PNG")
        read = blipcpp.Image.open
        self.assertTrue((read(file.getvalue()).to_numpy() == rgba[:, :, :3]).all())
        for background in ("#ff8000", "White", "#000"):
            below = Image.new("RGBA", (8, 9), background)
            expected = Image.alpha_composite(below, Image.fromarray(rgba, "RGBA")).convert("RGB")
            pixels = read(file.getvalue(), background=background).to_numpy()
            self.assertTrue((pixels == np.asarray(expected)).all(), background)
        with self.assertRaisesRegex(blipcpp.UsageError, "puce"):
            read(file.getvalue(), background="puce")

    def test_memory(self):
        """The array keeps the picture's memory; nobody can write to it."""
        pixels = blipcpp.Image.from_array(self.pixels).to_numpy()
        gc.collect()
        self.assertTrue((pixels == self.pixels).all())
        with self.assertRaises(ValueError):
            pixels[0, 0, 0] = 1
        image = blipcpp.Image.open(CLOCK)
        self.assertEqual(np.asarray(image).ctypes.data, image.to_numpy().ctypes.data)
        self.assertEqual(image.resized(4, 3).size, (4, 3))

    def test_refused(self):
        usage, image, io_error = blipcpp.UsageError, blipcpp.ImageError, blipcpp.IoError
        for value, kind, message in (
            (np.zeros((4, 4, 3)), usage, "uint8.*float64"),
            (np.zeros((3, 224, 224), np.uint8), usage, r"\[3, 224, 224\]; move the channels last"),
            (np.zeros((4, 4, 4), np.uint8), usage, r"\[4, 4, 4\]"),
            (np.zeros((0, 4, 3), np.uint8), usage, "at least 1 x 1"),
            (WithDlpack(self.pixels, device=2), usage, "type 2; move it to the CPU"),
            (7, usage, "no picture: int"),
            (None, usage, "no picture: NoneType"),
            (b"no picture", image, "picture"),
            (b"", image, "picture"),
            ("/nowhere.png", io_error, "/nowhere.png"),
            ("a\0b.png", usage, "zero character"),
        ):
            with self.subTest(value=repr(value)[:40]), self.assertRaisesRegex(kind, message):
                self.model.caption(value)
        with self.assertRaisesRegex(image, "100"):
            blipcpp.Image.open(CLOCK, max_pixels=100)
        with self.assertRaisesRegex(image, "memory"):
            blipcpp.Image.open(CLOCK, max_memory=1000)
        with self.assertRaisesRegex(OSError, "10"):  # IoError is one
            blipcpp.Image.open(CLOCK, max_bytes=10)


if __name__ == "__main__":
    unittest.main()
