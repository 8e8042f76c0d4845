#!/usr/bin/env python3
"""Draws the memory curve that tests/cli/jobs_million.py wrote (BLIP_JOB_CURVE) as SVG.

python3 bench/job_curve.py curve.txt > curve.svg
"""

import sys

import arguments


def svg(points):
    """The curve as a picture: names from left to right, MB from the bottom up."""
    width, height, left, bottom = 640, 320, 60, 40
    most_names = max(names for names, _, _ in points)
    most_mb = max(mb for _, _, mb in points) * 1.1
    place = lambda names, mb: "%.1f,%.1f" % (
        left + names / most_names * (width - left - 10),
        height - bottom - mb / most_mb * (height - bottom - 10),
    )
    line = " ".join(place(names, mb) for names, _, mb in points)
    text = '<text x="%d" y="%d" font-size="12" font-family="sans-serif">%s</text>'
    return "\n".join(
        (
            '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d">' % (width, height),
            '<rect width="100%" height="100%" fill="white"/>',
            '<polyline fill="none" stroke="black" points="%s %s %s"/>'
            % (place(0, most_mb), place(0, 0), place(most_names, 0)),
            '<polyline fill="none" stroke="#c03" stroke-width="2" points="%s"/>' % line,
            text % (4, 20, "%.0f MB" % most_mb),
            text % (width - 120, height - 15, "{:,} names".format(most_names)),
            "</svg>\n",
        )
    )


def main():
    parser = arguments.parser(__doc__)
    parser.add_argument("curve", help="what the test wrote")
    with open(parser.parse_args().curve, encoding="utf-8") as file:
        words = [line.split() for line in file if line.strip()]
    sys.stdout.write(svg([(int(w[0]), float(w[2]), float(w[4])) for w in words]))


if __name__ == "__main__":
    main()
