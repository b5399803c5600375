"""Plain captions of nothing in particular, for attacks that start at another prompt."""

GENERAL_CAPTIONS = (
    "a bowl of ripe cherries on a wooden table",
    "an old stone bridge over a quiet river",
    "two children flying a kite on a windy beach",
    "a grey cat asleep on a window sill",
    "a steam train crossing a snowy valley",
    "a portrait of a violinist in a dark coat",
    "a stack of books beside a reading lamp",
    "a harbour full of fishing boats at dawn",
    "a field of sunflowers under heavy clouds",
    "a slice of chocolate cake on a blue plate",
    "a cyclist riding through an autumn forest",
    "a market stall with baskets of vegetables",
    "a lighthouse on a cliff above rough water",
    "a pair of worn leather boots by a door",
    "a red umbrella in a crowded street",
    "a mountain hut with smoke from its chimney",
)
