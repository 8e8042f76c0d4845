"""The English that goes with a scene: its caption, true and false statements, questions with
answers - and the way back.

A caption reads the rows from top to bottom, each from left to right. It stays within 20 tokens,
prompt included, because that is where BLIP's captioning stops by default.
"""

import re
from collections import Counter

from kinds import BACKGROUNDS, BY_NAME, BY_PLURAL, COLOURS, KINDS, NUMBERS

PROMPT = "a picture of "
LEFT, RIGHT, ABOVE, BELOW = "to the left of", "to the right of", "above", "below"
OPPOSITE = {LEFT: RIGHT, RIGHT: LEFT, ABOVE: BELOW, BELOW: ABOVE}


def listed(phrases):
    return phrases[0] if len(phrases) == 1 else ", ".join(phrases[:-1]) + " and " + phrases[-1]


def counts(scene):
    """How often each kind occurs, in reading order."""
    return Counter(t.kind for t in scene.things)


def _ground(scene, text):
    return (
        f"{text} on {'an' if scene.background[0] == 'o' else 'a'} {scene.background} background"
        if scene.background
        else text
    )


def _body(rows):
    """The caption of these rows of kind indices, without the background."""
    flat = [k for row in rows for k in row]
    if len(set(flat)) < len(flat):
        return listed([KINDS[k].counted(n) for k, n in Counter(flat).items()])
    if len(rows) == 1 and len(flat) == 2:
        return f"{KINDS[flat[0]].one} {LEFT} {KINDS[flat[1]].one}"
    return f" {ABOVE} ".join(listed([KINDS[k].one for k in row]) for row in rows)


def _kind_rows(scene):
    return [[t.kind for t in row] for row in scene.rows]


def caption(scene):
    return _ground(scene, _body(_kind_rows(scene)))


# --- reading a caption back


def parse_caption(text):
    """(Counter of kind names, background colour or None); None in place of the counter where the
    text does not parse.
    """
    text = text.strip().lower().removeprefix(PROMPT)
    ground = re.search(r" on an? (\w+) background$", text)
    colour = ground.group(1) if ground else None
    found = Counter()
    for phrase in re.split(
        r"\s*,\s*| and | above | to the left of ", text[: ground.start()] if ground else text
    ):
        words = phrase.split()
        if len(words) != 2:
            return None, colour
        number = (
            1 if words[0] in ("a", "an") else NUMBERS.index(words[0]) if words[0] in NUMBERS else 0
        )
        kind = BY_NAME.get(words[1]) if number == 1 else BY_PLURAL.get(words[1])
        if not kind or not number:
            return None, colour
        found[kind.name] += number
    return found, colour


def named_counts(scene):
    return Counter(KINDS[t.kind].name for t in scene.things)


# --- facts about two things


def _relations(scene):
    """(kind a, relation, kind b) for all pairs that stand in one row, or one above the other, each
    kind being unique.
    """
    unique = {k for k, n in counts(scene).items() if n == 1}
    rows, found = _kind_rows(scene), []
    for r, row in enumerate(rows):
        for i, a in enumerate(row):
            found += [(a, LEFT, b) for b in row[i + 1 :]]
            for lower in rows[r + 1 :]:
                if len(row) == len(lower) == 1:
                    found.append((a, ABOVE, lower[0]))
                elif len(row) == len(lower):
                    found.append((a, ABOVE, lower[i]))
                else:
                    found += [(a, ABOVE, b) for b in lower]
    found = [(a, rel, b) for a, rel, b in found if a in unique and b in unique]
    return found + [(b, OPPOSITE[rel], a) for a, rel, b in found]


def _absent(rng, scene):
    present = counts(scene)
    while True:
        k = int(rng.integers(len(KINDS)))
        if k not in present:
            return k


# --- true and false statements


def _wrong_kind(rng, scene):
    rows, c = _kind_rows(scene), counts(scene)
    k, other = int(rng.choice(list(c))), _absent(rng, scene)
    if rng.random() < 0.4:
        return KINDS[k].counted(c[k]), KINDS[other].counted(c[k])
    return _ground(scene, _body(rows)), _ground(
        scene, _body([[other if x == k else x for x in row] for row in rows])
    )


def _wrong_count(rng, scene):
    c = counts(scene)
    k = int(rng.choice(list(c)))
    n = int(rng.choice([m for m in range(1, 5) if m != c[k] and abs(m - c[k]) <= 2]))
    if len(c) == len(scene.things) or rng.random() < 0.4:
        return KINDS[k].counted(c[k]), KINDS[k].counted(n)
    return tuple(
        _ground(
            scene, listed([KINDS[x].counted(n if wrong and x == k else m) for x, m in c.items()])
        )
        for wrong in (False, True)
    )


def _wrong_colour(rng, scene):
    if not scene.background:
        return None
    body = (
        _body(_kind_rows(scene))
        if rng.random() < 0.6
        else listed([KINDS[k].counted(n) for k, n in counts(scene).items()])
    )
    true = _ground(scene, body)
    other = COLOURS[rng.integers(len(COLOURS))]
    while other == scene.background:
        other = COLOURS[rng.integers(len(COLOURS))]
    article = "an" if other[0] == "o" else "a"
    return true, f"{body} on {article} {other} background"


def _wrong_relation(rng, scene):
    options = _relations(scene)
    if not options:
        return None
    a, rel, b = options[rng.integers(len(options))]
    say = lambda x, r, y: f"{KINDS[x].one} {r} {KINDS[y].one}"
    return say(a, rel, b), (say(a, OPPOSITE[rel], b) if rng.random() < 0.5 else say(b, rel, a))


STATEMENTS = {
    "kind": _wrong_kind,
    "count": _wrong_count,
    "colour": _wrong_colour,
    "relation": _wrong_relation,
}


def statements(rng, scene, weights=(0.25, 0.22, 0.18, 0.35)):
    """(what differs, true text, false text): the two differ by exactly one fact of the scene."""
    while True:
        what = str(rng.choice(list(STATEMENTS), p=weights))
        pair = STATEMENTS[what](rng, scene)
        if pair:
            prefix = PROMPT if rng.random() < 0.3 else ""
            return what, prefix + pair[0], prefix + pair[1]


# --- questions


def _ask_what(rng, scene):
    rows, options = scene.rows, []
    if len(scene.things) == 1:
        options.append(("what is in the picture?", rows[0][0].kind))
    elif len(rows) == 1:
        options += [
            ("what is on the left?", rows[0][0].kind),
            ("what is on the right?", rows[0][-1].kind),
        ]
    if len(rows) > 1:
        options += [
            (f"what is at the {where}?", row[0].kind)
            for where, row in (("top", rows[0]), ("bottom", rows[-1]))
            if len(row) == 1
        ]
        options += [
            (f"what is at the {where} {side}?", row[i].kind)
            for where, row in (("top", rows[0]), ("bottom", rows[-1]))
            if len(row) == 2
            for side, i in (("left", 0), ("right", 1))
        ]
    if len(scene.things) == 3 and len(rows) != 2:
        options.append(("what is in the middle?", scene.things[1].kind))
    seen = {}
    for a, rel, b in _relations(scene):  # only where just one thing stands in that relation
        seen.setdefault((rel, b), []).append(a)
    options += [
        (f"what is {rel} the {KINDS[b].name}?", a[0])
        for (rel, b), a in seen.items()
        if len(a) == 1 and len(scene.things) > 1
    ]
    question, kind = options[rng.integers(len(options))]
    return question, KINDS[kind].name


def _ask_count(rng, scene):
    c = counts(scene)
    if rng.random() < 0.25:
        return "how many things are there?", NUMBERS[len(scene.things)]
    if rng.random() < 0.2:
        return f"how many {KINDS[_absent(rng, scene)].plural} are there?", "zero"
    weights = [n**1.5 for n in c.values()]  # a little more of the counts above one
    k = int(rng.choice(list(c), p=[w / sum(weights) for w in weights]))
    return f"how many {KINDS[k].plural} are there?", NUMBERS[c[k]]


def _ask_colour(rng, scene):
    plain = [k for k, n in counts(scene).items() if n == 1 and KINDS[k].colour]
    word = "colour" if rng.random() < 0.5 else "color"
    if scene.background and (not plain or rng.random() < 0.6):
        return f"what {word} is the background?", scene.background
    if not plain:
        return None
    k = plain[rng.integers(len(plain))]
    return f"what {word} is the {KINDS[k].name}?", KINDS[k].colour


def _ask_where(rng, scene):
    unique = {k for k, n in counts(scene).items() if n == 1}
    rows, options = scene.rows, []
    for a, rel, b in _relations(scene):
        options.append(
            (
                (
                    f"is the {KINDS[a].name} {LEFT} or {RIGHT} the {KINDS[b].name}?"
                    if rel in (LEFT, RIGHT)
                    else f"is the {KINDS[a].name} above or below the {KINDS[b].name}?"
                ),
                {LEFT: "left", RIGHT: "right"}.get(rel, rel),
            )
        )
    for r, row in enumerate(rows):
        for i, thing in enumerate(row):
            place = _place_words(rows, r, i)
            if place and thing.kind in unique:
                options += [(f"where is the {KINDS[thing.kind].name}?", place)] * 2
    return options[rng.integers(len(options))] if options else None


def _place_words(rows, r, i):
    row = rows[r]
    if len(rows) == 1:
        return (
            None
            if len(row) == 1
            else (
                "on the left"
                if i == 0
                else "on the right" if i == len(row) - 1 else "in the middle"
            )
        )
    height = "top" if r == 0 else "bottom" if r == len(rows) - 1 else None
    if len(row) == 1:
        return f"at the {height}" if height else "in the middle"
    return f"at the {height} {'left' if i == 0 else 'right'}"


def _ask_whether(rng, scene):
    c, roll = counts(scene), rng.random()
    relations = _relations(scene)
    if roll < 0.35 and relations:
        a, rel, b = relations[rng.integers(len(relations))]
        true = rng.random() < 0.5
        return f"is the {KINDS[a].name} {rel if true else OPPOSITE[rel]} the {KINDS[b].name}?", (
            "yes" if true else "no"
        )
    if rng.random() < 0.5:
        k = int(rng.choice(list(c)))
        return (
            f"is there {KINDS[k].one}?" if c[k] == 1 else f"are there {KINDS[k].plural}?"
        ), "yes"
    k = KINDS[_absent(rng, scene)]
    return (f"is there {k.one}?" if rng.random() < 0.7 else f"are there {k.plural}?"), "no"


QUESTIONS = {
    "what": _ask_what,
    "how many": _ask_count,
    "colour": _ask_colour,
    "where": _ask_where,
    "yes/no": _ask_whether,
}


def questions(rng, scene, n):
    """n of (type, question, answer), of different types as far as the scene allows."""
    result, names = [], list(QUESTIONS)
    while len(result) < n:
        for i in rng.permutation(len(names)):
            pair = QUESTIONS[names[i]](rng, scene)
            if pair and len(result) < n:
                result.append((names[i], *pair))
    return result


def vocabulary_words():
    """Every word the demo's texts use, sorted."""
    words = set(
        "a an picture of the to left right above below on at in and is are there what how many "
        "things where color colour "
        "background top bottom middle or yes no".split()
    )
    words |= set(NUMBERS) | set(BACKGROUNDS) | {k.name for k in KINDS} | {k.plural for k in KINDS}
    return sorted(words)
