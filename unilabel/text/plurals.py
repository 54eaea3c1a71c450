"""English plurals, by rules and lists of the words that rules get wrong.

No dictionary is needed; :meth:`unilabel.text.nouns.Nouns.singular` asks one as well. The library
``inflect`` reads plurals as well as this, but it has to be told that a word is one: it cuts the
"s" off "gas", "walrus" and other singulars too. The tests compare with it.
"""

from __future__ import annotations

# Ends of plurals that change inside, and what they become; compounds end as their last word does.
_CHANGED = {
    "children": "child", "men": "man", "feet": "foot", "teeth": "tooth", "geese": "goose",
    "mice": "mouse", "oxen": "ox", "people": "person", "leaves": "leaf", "loaves": "loaf",
    "sheaves": "sheaf", "calves": "calf", "halves": "half", "scarves": "scarf", "elves": "elf",
    "wharves": "wharf", "dwarves": "dwarf", "wolves": "wolf", "hooves": "hoof",
    "thieves": "thief", "knives": "knife", "wives": "wife", "quizzes": "quiz",
    "geneses": "genesis", "oases": "oasis", "crises": "crisis",
}  # fmt: skip
# Words that end like these plurals and are none.
_UNCHANGED = {
    *("omen", "abdomen", "specimen", "stamen", "regimen", "acumen", "semen", "hymen", "ramen"),
    *("catechumen", "cerumen", "duramen", "flamen", "foramen", "examen"),
    *("bitumen", "cyclamen", "lumen", "rumen", "albumen", "dolmen", "amen", "pumice", "naproxen"),
}
# Singular words that end with one "s", or their ends.
_S = (
    *("us", "canvas", "atlas", "pancreas", "christmas", "rhinoceros", "asbestos", "cosmos"),
    *("iris", "trellis", "pelvis", "chrysalis", "ibis", "polis", "cannabis", "marquis", "penis"),
    *("clematis", "amaryllis", "aegis", "digitalis", "triceratops", "biceps", "triceps"),
)
_S_EXACT = {
    "gas",
    "lens",
    "biogas",
    "bias",
    "alias",
    "ibis",
    "dais",
    "yes",
    "chaos",
    "ananas",
    "kudos",
}
# Words without a plural of their own.
_SAME = ("ss", "us", "is", *_S)
_SAME_EXACT = {
    "series",
    "miniseries",
    "species",
    "subspecies",
    "news",
    "pampas",
    "clothes",
    *_S_EXACT,
}
# Words in "u" and "i": their plurals look like "bus" and "iris".
_VOWELS = {
    *("menu", "emu", "gnu", "tutu", "guru", "zebu", "haiku", "tofu", "flu", "bayou", "thou"),
    *("taxi", "ski", "bikini", "kiwi", "rabbi", "safari", "alibi", "khaki", "martini", "yeti"),
    *("tsunami", "okapi", "salami", "spaghetti", "zucchini", "jacuzzi", "broccoli", "graffiti"),
    *("corgi", "sushi", "panini", "chili", "chilli", "wapiti", "impi", "jinni", "houri", "sari"),
    *("sarong", "obi", "bonsai", "mufti", "gharri", "tipi", "pirogi", "rani", "swami", "kepi"),
    *("lazuli", "potpourri", "wasabi", "kohlrabi", "ravioli", "wi-fi", "hi-fi", "quasi", "mini"),
}
# Words whose plural keeps the "e" before the "s", against the rule of their ending.
_KEEP_E = {
    *("tie", "necktie", "bowtie", "pie", "potpie", "magpie", "lie", "die", "movie", "cookie"),
    *("zombie", "brownie", "birdie", "collie", "prairie", "hoodie", "selfie", "smoothie", "genie"),
    *("calorie", "eyrie", "aerie", "rookie", "beanie", "veggie", "budgie", "caddie", "goalie"),
    *("menagerie", "patisserie", "brasserie", "rotisserie", "lingerie", "hippie", "pixie"),
    *("cowrie", "crosstie", "auntie", "pinkie", "doggie", "foodie", "walkie", "talkie", "panties"),
    *("shoe", "horseshoe", "snowshoe", "overshoe", "gumshoe", "toe", "tiptoe", "canoe", "hoe"),
    *("backhoe", "oboe", "aloe", "doe", "roe", "foe", "floe", "sloe", "mistletoe", "hoopoe"),
    *("niche", "quiche", "avalanche", "brioche", "douche", "microfiche", "cloche"),
    *("porsche", "cartouche", "pastiche", "psyche", "barouche", "caleche", "gouache", "apache"),
    *("axe", "pickaxe", "poleaxe", "broadaxe", "annexe", "deluxe"),
    *("use", "fuse", "muse", "ruse", "excuse", "recluse", "cruse", "hypotenuse", "fuze"),
    *("impasse", "crevasse", "demitasse", "finesse", "mousse", "lacrosse", "posse", "pelisse"),
}
_KEEP_E_ENDS = ("ouse", "ause", "euse")
# Ending of the plural, what it becomes; a plural in "s" alone loses that.
_RULES = (
    ("ies", "y"), ("oes", "o"), ("sses", "ss"), ("ches", "ch"), ("shes", "sh"), ("xes", "x"),
    ("zzes", "zz"), ("tzes", "tz"),
)  # fmt: skip


def singular(word: str) -> str:
    """The word, in lower case, without an English plural ending; words like "grass" stay.

    Where an ending says too little ("axes", "bases") it is the more usual word for a thing.
    """
    if word in _UNCHANGED:
        return word
    for plural, single in _CHANGED.items():
        if word.endswith(plural):
            return word[: -len(plural)] + single
    less = word[:-1]
    if word.endswith("s") and (less in _VOWELS or less in _KEEP_E or less.endswith(_KEEP_E_ENDS)):
        return less
    if len(word) <= 3 or word.endswith(_SAME) or word in _SAME_EXACT:
        return word
    if word.endswith("aches") and not word.endswith(("eaches", "oaches")):
        return less  # headaches, moustaches; not beaches, coaches
    if word.endswith("ses") and (word[:-2].endswith(_S) or word[:-2] in _S_EXACT):
        return word[:-2]
    for ending, other in _RULES:
        if word.endswith(ending):
            return word[: -len(ending)] + other
    return less if word.endswith("s") else word
