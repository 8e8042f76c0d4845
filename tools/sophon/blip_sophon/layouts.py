"""How keys and values of what texts see (N tokens of an image, or of a question) are kept."""

# As the product with the weights first gives them. One query's attention reads this fastest.
LONG_AXIS = "long axis"
# As queries come from their product, and only then does the compiler put the attention of many
# queries into one group. The product takes an eighth longer on one core of BM1688, two fifths on
# two.
BY_TOKEN = "by token"
# That, with each layer's together, which BM1684X loads four times as fast: a product for each.
BY_LAYER = "by layer"


def cross_shape(sizes, count, layout):
    kept, h = 2 * sizes.layers, sizes.width // sizes.heads
    return {
        LONG_AXIS: [1, kept * sizes.heads, h, count],
        BY_TOKEN: [1, count, kept * sizes.heads, h],
        BY_LAYER: [kept, count, sizes.heads, h],
    }[layout]
