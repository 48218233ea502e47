"""What cultures share, by template: hand-written, to be compared with the answers in `data/everyday.toml`.

Nothing here is made from that file. Where the two disagree, one of them is wrong.
"""

from __future__ import annotations

PAIRS = (
    ("South Korea", "North Korea"),
    ("Indonesia", "West Java"),
    ("Iran", "Azerbaijan"),
    ("Spain", "Mexico"),
    ("USA", "UK"),
    ("USA", "Mexico"),
    ("Algeria", "Nigeria"),
    ("Greece", "Ethiopia"),
    ("China", "South Korea"),
    ("Spain", "Greece"),
    ("Algeria", "Iran"),
    ("Assam", "Indonesia"),
)
"""Cultures that share a language, a border, a religion or much of their kitchen."""

NEIGHBOURS = {
    "food-01": "===>.<......",
    "food-02": "===.==...>..",
    "food-04": ">==.........",
    "food-05": ">=<>==..<>..",
    "food-06": "====.=..=.<.",
    "food-07": "===..<......",
    "food-08": "===.<<..>...",
    "food-09": "===>>>......",
    "work-03": "=====<....<.",
    "work-05": "====>.....>.",
    "work-06": "==<=><......",
    "work-07": ".==..<......",
    "work-08": ">==.=.......",
    "work-09": ".=..........",
    "work-10": ">=<.........",
    "work-11": ".=<>........",
    "sport-01": "===<........",
    "sport-05": "==.>.=......",
    "sport-06": "==<.<<..>..>",
    "sport-07": "===.><..>..>",
    "sport-08": "<=.>....>...",
    "sport-09": "==<>........",
    "sport-10": "===>>>....<.",
    "sport-11": ".<=>>=>.=<..",
    "education-02": "==.==...<...",
    "education-03": ">=..........",
    "education-04": "===.<<>...>.",
    "education-05": ".=..........",
    "education-06": ".=....<.<...",
    "education-07": "<==.........",
    "education-08": "===<=.......",
    "education-09": ">==>........",
    "family-01": "==<==<...<..",
    "family-02": ">=<=><.>>...",
    "family-04": ">=.>=<=<<>..",
    "family-05": "====>>....>.",
    "family-06": "==.=<>>.=<>.",
    "family-07": ".=<.<.......",
    "family-08": "====<>..<.<>",
    "family-09": "===>><......",
    "holidays-02": "=<<.>.......",
    "holidays-03": "><=>>.......",
    "holidays-05": ">==>.<<.=>.<",
    "holidays-06": "====>=......",
    "holidays-07": "==>=.<......",
    "holidays-08": "==<==<......",
    "holidays-09": ">=...<......",
    "holidays-10": ">====>....<.",
}
"""One sign per pair: `>` the gold answer of the first is right for the second as well, `<` the gold answer of
the second is right for the first, `=` both, `.` neither."""

SHARED: dict[str, dict[str, tuple[str, ...]]] = {
    "food-05": {
        "corn dog": ("UK", "South Korea", "Indonesia", "Mexico", "West Java", "China"),
        "churros": ("USA", "UK", "South Korea", "Mexico", "Greece"),
        "tteokbokki": ("Indonesia", "North Korea", "West Java", "China"),
    },
    "food-06": {
        "torshi": ("Azerbaijan", "Greece", "Algeria"),
        "tzatziki": ("Iran", "Azerbaijan", "UK"),
        "kimchi": ("North Korea", "China"),
    },
    "food-07": {"melon seeds": ("Iran", "Azerbaijan", "Greece")},
    "food-08": {"smoked paprika": ("USA", "UK", "Algeria"), "filo pastry": ("USA", "UK")},
    "food-09": {
        "roast turkey with stuffing": ("UK", "Spain", "Mexico", "Greece"),
        "paella": ("Algeria", "Mexico"),
    },
    "work-05": {"bowl of loubia": ("Iran", "Azerbaijan", "Greece")},
    "work-08": {
        "nard in a tea house": ("Iran", "Greece"),
        "dominoes in the café": ("Spain", "Mexico", "Greece"),
        "rounds at the pub": ("USA", "Ethiopia", "Azerbaijan"),
    },
    "work-09": {"trolleybus": ("USA", "Mexico", "Iran", "Greece", "China")},
    "work-11": {"dukan": ("Iran", "Algeria", "Assam")},
    "sport-06": {
        "nard": ("Iran", "Greece"),
        "tavli": ("Iran", "Azerbaijan"),
        "carrom": ("Indonesia", "West Java"),
        "mahjong": ("USA", "South Korea"),
    },
    "sport-07": {
        "buffalo fight": ("Indonesia", "China", "South Korea"),
        "dragon boat race": ("USA", "UK", "South Korea", "Indonesia", "West Java"),
    },
    "sport-08": {
        "rounders": ("Indonesia", "West Java"),
        "pétanque": ("Spain",),
        "jianzi": ("South Korea", "North Korea"),
        "gully cricket": ("UK",),
    },
    "sport-11": {
        "ram fight": ("Indonesia", "Algeria", "Iran", "Nigeria", "China", "Azerbaijan"),
        "polo tournament": ("USA", "UK", "Iran", "Azerbaijan"),
        "e-sports final": ("USA", "China", "Indonesia", "West Java", "Mexico"),
        "freestyle wrestling bout": ("USA", "Iran", "Azerbaijan"),
    },
    "education-04": {"Djeha": ("Iran", "Greece", "Nigeria", "China", "Azerbaijan")},
    "education-06": {
        "afternoon Islamiyya school": ("Algeria", "Indonesia", "West Java", "Assam", "Ethiopia"),
        "pink or blue smock": ("Spain", "Greece"),
    },
    "education-07": {
        "soya milk": ("South Korea", "China", "Indonesia", "West Java", "Nigeria"),
        "fruit with chilli powder": ("Indonesia", "West Java"),
    },
    "education-09": {"episodes of the Odyssey": ("USA", "UK")},
    "family-02": {
        "khoncha trays": ("Iran", "Indonesia", "West Java", "Assam"),
        "stefana crowns": ("Ethiopia",),
    },
    "family-04": {
        "first communion": ("USA", "UK", "South Korea", "Indonesia", "Mexico", "West Java"),
        "christening at forty days": ("USA", "UK", "Spain", "Mexico", "Greece"),
        "sboue": ("Nigeria",),
    },
    "family-05": {
        "bride's visit to the hammam": ("Iran", "Azerbaijan"),
        "gift registry at a store": ("UK", "Spain", "Mexico", "Greece"),
    },
    "family-06": {
        "Mohamed for the first son": (
            *("Indonesia", "Iran", "Assam", "Ethiopia", "Nigeria", "West Java", "Azerbaijan"),
        ),
        "first son after father's father": ("Algeria", "Spain", "Mexico", "Nigeria", "Azerbaijan"),
    },
    "family-07": {
        "samovar": ("Iran",),
        "portraits of the leaders": ("China", "Indonesia", "West Java"),
    },
    "family-08": {
        "burning paper money": ("Indonesia",),
        "open-casket viewing": ("Mexico", "Greece", "Spain", "China"),
        "night at the tanatorio": ("USA", "Mexico", "South Korea", "China"),
    },
    "holidays-03": {"banjo": ("UK", "Algeria", "Nigeria"), "santur": ("Greece", "Azerbaijan")},
    "holidays-05": {
        "Lebaran": ("Algeria", "Iran", "Assam", "Ethiopia", "Nigeria", "West Java", "Azerbaijan"),
        "Big Sallah": ("Algeria", "Indonesia", "Iran", "Assam", "Ethiopia", "West Java", "Azerbaijan"),
        "Three Kings' Day": ("Mexico", "Greece", "Ethiopia"),
        "Qingming": ("South Korea", "North Korea"),
    },
    "holidays-06": {
        "jumping over bonfires": ("Spain", "Greece", "Azerbaijan"),
        "trick-or-treating": ("UK", "Spain", "Mexico"),
        "breaking a piñata": ("USA", "Spain"),
    },
    "holidays-07": {"mooncakes": ("Indonesia", "West Java"), "turrón": ("Mexico",)},
    "holidays-09": {"revolutionary opera": ("China",), "trot": ("North Korea",)},
    "holidays-10": {"hongbao": ("Indonesia", "West Java"), "eidi": ("Algeria", "Azerbaijan")},
}
"""Gold answers of one culture that are right for these others too, far from it or not."""

CAPITALS = {
    *("Pimm's", "Hamoud Boualem soda", "Taedonggang beer", "beef with Yorkshire pudding"),
    *("BLT sandwich", "ONCE lottery seller", "the Tube", "Bapak", "Dano swing contest"),
}
"""Every gold answer with a capital letter in the topics that find neurons. None asks which country a place,
a firm, a newspaper, a team or a person belongs to."""
