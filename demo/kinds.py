"""What a demo scene is made of: the emoji kinds, the background colours, and their English
words.
"""

# name: (code point, plural, colour or None). A colour is given only where nobody would argue about
# it.
_TABLE = """
dog 1F415 dogs -|cat 1F408 cats -|horse 1F40E horses brown|cow 1F404 cows -|pig 1F416 pigs pink
sheep 1F411 sheep white
elephant 1F418 elephants gray|lion 1F981 lions -|tiger 1F405 tigers orange|panda 1F43C pandas -
rabbit 1F407 rabbits -
mouse 1F401 mice gray|frog 1F438 frogs green|turtle 1F422 turtles green|snake 1F40D snakes green
whale 1F433 whales blue
fish 1F420 fish -|octopus 1F419 octopuses pink|crab 1F980 crabs -|snail 1F40C snails brown
butterfly 1F98B butterflies orange
bee 1F41D bees -|ladybug 1F41E ladybugs red|spider 1F577 spiders gray|duck 1F986 ducks -
owl 1F989 owls brown
parrot 1F99C parrots green|penguin 1F427 penguins -|rooster 1F413 roosters -
flamingo 1F9A9 flamingos pink
giraffe 1F992 giraffes -|zebra 1F993 zebras -|monkey 1F412 monkeys brown|fox 1F98A foxes orange
shark 1F988 sharks gray
apple 1F34E apples red|banana 1F34C bananas yellow|pineapple 1F34D pineapples -
strawberry 1F353 strawberries red
watermelon 1F349 watermelons -|lemon 1F34B lemons yellow|carrot 1F955 carrots orange
mushroom 1F344 mushrooms -
eggplant 1F346 eggplants purple|pizza 1F355 pizzas -|hamburger 1F354 hamburgers -|cake 1F370 cakes -
donut 1F369 donuts -
lollipop 1F36D lollipops -|pretzel 1F968 pretzels brown|avocado 1F951 avocados green
sunflower 1F33B sunflowers -
rose 1F339 roses red|tree 1F333 trees green|cactus 1F335 cactuses green|leaf 1F341 leaves red
car 1F697 cars red
bus 1F68C buses blue|tractor 1F69C tractors green|bicycle 1F6B2 bicycles -|train 1F682 trains -
airplane 2708 airplanes blue
helicopter 1F681 helicopters yellow|rocket 1F680 rockets -|sailboat 26F5 sailboats -
ball 26BD balls -
basketball 1F3C0 basketballs orange|guitar 1F3B8 guitars red|drum 1F941 drums -
clock 23F0 clocks red|phone 260E phones red
camera 1F4F7 cameras -|bulb 1F4A1 bulbs yellow|key 1F511 keys yellow|lock 1F512 locks yellow
hammer 1F528 hammers -
umbrella 2614 umbrellas purple|balloon 1F388 balloons red|gift 1F381 gifts -|book 1F4D5 books red
pencil 270F pencils -
bell 1F514 bells yellow|crown 1F451 crowns yellow|hat 1F3A9 hats black|shoe 1F45F shoes blue
shirt 1F455 shirts blue
dress 1F457 dresses blue|house 1F3E0 houses -|castle 1F3F0 castles gray|anchor 2693 anchors blue
sun 1F31E suns yellow
moon 1F319 moons yellow|star 2B50 stars yellow|rainbow 1F308 rainbows -
pumpkin 1F383 pumpkins orange
ghost 1F47B ghosts white|robot 1F916 robots gray|heart 2764 hearts red|diamond 1F48E diamonds blue
cup 2615 cups white
candle 1F56F candles white|teapot 1FAD6 teapots red|trophy 1F3C6 trophies yellow
backpack 1F392 backpacks red
"""


class Kind:
    """One emoji kind: `name`, `plural`, the character `char`, and its plain colour if it has
    one.
    """

    def __init__(self, index, row):
        self.index = index
        self.name, code, self.plural, colour = row.split()
        self.char = chr(int(code, 16))
        self.colour = None if colour == "-" else colour

    @property
    def one(self):
        return ("an " if self.name[0] in "aeiou" else "a ") + self.name

    def counted(self, n):
        return self.one if n == 1 else f"{NUMBERS[n]} {self.plural}"


NUMBERS = ["zero", "one", "two", "three", "four", "five"]
KINDS = [Kind(i, row) for i, row in enumerate(_TABLE.strip().replace("\n", "|").split("|"))]
BY_NAME = {k.name: k for k in KINDS}
BY_PLURAL = {k.plural: k for k in KINDS}

BACKGROUNDS = {
    "red": (205, 45, 50),
    "orange": (245, 145, 45),
    "yellow": (250, 222, 75),
    "green": (80, 178, 85),
    "blue": (65, 120, 220),
    "purple": (138, 75, 180),
    "pink": (250, 165, 200),
    "brown": (128, 84, 50),
    "gray": (142, 142, 142),
    "white": (248, 248, 248),
    "black": (28, 28, 30),
}
COLOURS = list(BACKGROUNDS)

assert len(BY_NAME) == len(KINDS) >= 100
