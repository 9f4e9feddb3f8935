"""What the demo group looks like: three properties, their spaces, which real home each meter follows, what is left.

`left_fen` is what a wallet still holds when the demo's clock starts; the opening balance follows from it.
"""

from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

ZONE = ZoneInfo("Asia/Shanghai")
#: Where the demo's clock begins: a working Monday, with no holiday near and partitions all around.
START = datetime(2026, 7, 20, 10, 0, tzinfo=ZONE)
GROUP = "远景物业集团"
#: A comfortable wallet, which no alarm is near.
PLENTY_FEN = 18_000


@dataclass(frozen=True, slots=True)
class Supply:
    """A space with a meter. `home`: 1–17, the real home whose load it follows, `load_percent` of it."""

    space: str
    home: int
    left_fen: int = PLENTY_FEN
    gateway: str = ""
    load_percent: int = 100
    #: A company's name; '' for an invented person.
    company: str = ""
    guaranteed: bool = False
    protected: bool = False
    agreement: bool = True
    suspended: bool = False
    button_reachable: bool = True
    #: Why the customer asked to be cut off for a while; '' for everybody else.
    stop_asked: str = ""
    #: False for meters of the public area: no space, no account, never tripped.
    has_account: bool = True


@dataclass(frozen=True, slots=True)
class Box:
    """A gateway. `serial` ones are dialled; an `absent` one is without power at first, so its meters are offline."""

    number: str
    serial: bool = False
    absent: bool = False


@dataclass(frozen=True, slots=True)
class Site:
    """A property of the demo. `floors`: building, level, names of the spaces on it."""

    region: str
    name: str
    company: str
    usage_class: str
    model: tuple[str, int]
    plan: str
    prices: tuple[tuple[date, str], ...]
    floors: tuple[tuple[str, int, tuple[str, ...]], ...]
    boxes: tuple[Box, ...]
    supplies: tuple[Supply, ...]
    hours_between_readings: int = 1


@dataclass(frozen=True, slots=True)
class Town:
    """Everything that is seeded, and how many days of history."""

    sites: tuple[Site, ...]
    history_days: int = 31
    start: datetime = START
    #: Wall milliseconds after which a gateway that lost its line dials again.
    redial_ms: int = 1_000

    @property
    def began_at(self) -> datetime:
        """Midnight before the first day of history: meters are mounted, accounts opened."""
        midnight = self.start.replace(hour=0, minute=0, second=0, microsecond=0)
        return midnight - timedelta(days=self.history_days)


def _floors(building: str, letter: str, levels: int, each: int) -> tuple[tuple[str, int, tuple[str, ...]], ...]:
    return tuple(
        (building, level, tuple(f"{letter}-{level:02d}{door:02d}" for door in range(1, each + 1)))
        for level in range(1, levels + 1)
    )


#: 和风苑: the street of 17 real homes. What is left spreads over every state the room wall knows.
_LEFT_A = (
    ("A-0101", 1, 23_400), ("A-0102", 2, 9_650), ("A-0103", 3, 15_080), ("A-0104", 4, 4_100),
    ("A-0201", 5, 31_200), ("A-0202", 6, -1_870), ("A-0203", 7, 12_345), ("A-0204", 8, 560),
    ("A-0301", 9, 27_770), ("A-0302", 10, -310), ("A-0303", 11, 40_060), ("A-0304", 12, 2_480),
)  # fmt: skip
HEFENG = Site(
    region="华东区域",
    name="和风苑",
    company="远景物业服务（上海）有限公司",
    usage_class="residential",
    model=("DDSY-60A", 13_200),
    plan="居民合表",
    prices=((date(2026, 6, 1), "0.54600"), (date(2026, 7, 1), "0.56600")),
    floors=(*_floors("A座", "A", 3, 4), *_floors("B座", "B", 3, 4)),
    boxes=(Box("GW-HF-A"), Box("GW-HF-B", serial=True), Box("GW-HF-C", absent=True)),
    supplies=(
        *(Supply(space, home, left, "GW-HF-A") for space, home, left in _LEFT_A),
        Supply("A-公共", 3, gateway="GW-HF-A", load_percent=40, guaranteed=True, has_account=False),
        Supply("B-0101", 13, -150, "GW-HF-B", company="和风社区卫生站", guaranteed=True),
        Supply("B-0102", 14, 1_900, "GW-HF-B", protected=True),
        Supply("B-0103", 15, 20_640, "GW-HF-B", agreement=False),
        Supply("B-0104", 16, 8_880, "GW-HF-B", button_reachable=False, stop_asked="装修施工，住户申请暂停供电"),
        Supply("B-0201", 17, 33_150, "GW-HF-B"),
        Supply("B-0202", 7, 5_000, "GW-HF-B", load_percent=0, suspended=True),
        Supply("B-0203", 5, 11_300, "GW-HF-C", load_percent=60),
    ),
)
_SHOPS = (
    ("S-101", "清和咖啡", 11, 64_000), ("S-102", "晨光文具", 15, 22_300), ("S-103", "江畔书店", 13, 8_900),
    ("S-201", "小满面馆", 4, 150_200), ("S-202", "云上健身", 17, 3_100), ("S-203", "禾木美发", 16, 71_000),
)  # fmt: skip
LINJIANG = Site(
    region="华东区域",
    name="临江广场",
    company="远景商业管理（杭州）有限公司",
    usage_class="commercial",
    model=("DTSY-100A", 66_000),
    plan="一般工商业",
    prices=((date(2026, 6, 1), "0.82150"),),
    floors=(("商业楼", 1, ("S-101", "S-102", "S-103", "S-104")), ("商业楼", 2, ("S-201", "S-202", "S-203"))),
    boxes=(Box("GW-LJ-1"),),
    supplies=tuple(
        Supply(space, home, left, "GW-LJ-1", load_percent=220, company=name) for space, name, home, left in _SHOPS
    ),
    hours_between_readings=6,
)
_ROOMS = ((1, 4_200), (2, 2_650), (3, 980), (5, 6_100), (6, 3_480), (8, 90), (9, 5_250), (12, 7_700))
XUEFU = Site(
    region="华南区域",
    name="学府公寓",
    company="远景公寓管理（广州）有限公司",
    usage_class="dormitory",
    model=("DDSY-60A", 13_200),
    plan="学生宿舍",
    prices=((date(2026, 6, 1), "0.50500"),),
    floors=_floors("1号楼", "1", 2, 5),
    boxes=(Box("GW-XF-1"),),
    supplies=tuple(
        Supply(f"1-{index // 4 + 1:02d}{index % 4 + 1:02d}", home, left, "GW-XF-1", load_percent=25)
        for index, (home, left) in enumerate(_ROOMS)
    ),
    hours_between_readings=6,
)
TOWN = Town((HEFENG, LINJIANG, XUEFU))


def street_only(left_fen: dict[str, int], *, history_days: int = 3) -> Town:
    """和风苑 alone, with other balances where named: what the story plays in."""
    supplies = tuple(replace(s, left_fen=left_fen.get(s.space, PLENTY_FEN), stop_asked="") for s in HEFENG.supplies)
    return Town((replace(HEFENG, supplies=supplies),), history_days, redial_ms=100)
