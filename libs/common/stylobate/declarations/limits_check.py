"""What can only be seen with all rules of limits at hand: names that meet, and requests that too many rules count."""

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_network

from stylobate.declarations.limits_file import EDGE, OF_AUTH, compiled, is_impossible
from stylobate.declarations.model import ActionDeclaration, Finding, LimitRule, RateLimit
from stylobate.identity.networks import network_key

MAX_LEVELS = 16
"""Of one check."""
MAX_RULES = MAX_LEVELS - 2
"""That may count one request: the last levels are for the limit of the action that it calls, and for that of the API key."""
MAX_SUBJECT = 512
"""Characters of what one level counts."""
_Texts = Mapping[str, frozenset[frozenset[str]]]
"""By key of ``match``: sets of patterns that fit one text together."""
_BUILT_IN = tuple(LimitRule(name, RateLimit(1, timedelta(seconds=1)), (name.removeprefix("edge."),)) for name in EDGE)


def check_rules(
    rules: Sequence[LimitRule],
    actions: Collection[ActionDeclaration],
    platform: Sequence[LimitRule] = (),
    modules: Collection[str] = (),
) -> list[Finding]:
    """Return what is wrong with rules together.

    :param rules: of all modules' limits.yaml. :param platform: of the platform's own file.
    :param modules: the names of the modules, which begin the names of their rules and actions.
    """
    names = {action.name for action in actions}
    findings = [
        Finding(rule.file, rule.line, f"{rule.name!r} is the name of an action, whose own limit is counted by that name")
        for rule in rules
        if rule.name in names
    ]
    for rule in platform:
        module, point, _ = rule.name.partition(".")
        if point and module in modules:
            message = f"{rule.name!r}: names with `{module}.` are those of the module {module}; choose another one"
            findings.append(Finding(rule.file, rule.line, message))
    own = (action.limit_rule for action in actions if action.limit_rule is not None)
    if together := too_many([*rules, *own, *platform]):
        places = ", ".join(f"{rule.name} ({rule.file}:{rule.line})" if rule.file else rule.name for rule in together)
        message = f"one request could be counted by more than {MAX_RULES} rules: {places}; narrow `match` down"
        findings.append(Finding(together[-1].file, together[-1].line, message))
    return findings


def too_many(rules: Sequence[LimitRule], most: int = MAX_RULES) -> list[LimitRule]:
    """Return rules that could count one request together, one more than ``most``, in order; none if there are not that many.

    The search for a clique among rules of which each two go together, with the bound of Tomita and Seki (MCQ, 2003), by which it
    ends at once for what people write; what is chosen must have a request that fits all.
    """
    said = {rule.name for rule in rules}
    counted = [*(rule for rule in _BUILT_IN if rule.name not in said), *(rule for rule in rules if rule.name not in OF_AUTH)]
    found = {rule.name for rule in _clique([], _core(counted, most), {}, most)}
    return [rule for rule in counted if rule.name in found]


def _core(rules: Sequence[LimitRule], most: int) -> list[LimitRule]:
    """Return the rules that go together with ``most`` others of them: no other one can be among too many."""
    left = {rule.name: rule for rule in rules} if len(rules) > most else {}
    beside = {name: {other.name for other in left.values() if _go_together(rule, other)} for name, rule in left.items()}
    while few := [name for name in left if len(beside[name]) < most]:
        for name in few:
            del left[name]
            for other in beside[name]:
                beside[other].discard(name)
    return list(left.values())


def _clique(chosen: list[LimitRule], rest: list[LimitRule], texts: _Texts, most: int) -> list[LimitRule]:
    """Return the chosen rules with others that go with them, together more than ``most``; none if there are not that many.

    :param texts: what fits all that are chosen.
    """
    if len(chosen) > most:
        return chosen
    classes: list[list[LimitRule]] = []
    for rule in rest:  # of a class, whose rules exclude each other, one can be chosen at most
        fitting = next((known for known in classes if not any(_go_together(rule, other) for other in known)), None)
        if fitting is None:
            classes.append([rule])
        else:
            fitting.append(rule)
    ordered = [(rule, number) for number, known in enumerate(classes, 1) for rule in known]
    while ordered:
        rule, colours = ordered.pop()
        if len(chosen) + colours <= most:
            break
        if (narrowed := _narrowed(texts, rule)) is not None:
            beside = [other for other, _ in ordered if _go_together(rule, other)]
            if found := _clique([*chosen, rule], beside, narrowed, most):
                return found
    return []


def _narrowed(texts: _Texts, rule: LimitRule) -> _Texts | None:
    """Return what fits a rule as well; None: nothing does. Of patterns each two of which fit a text, all fit one."""
    narrowed = dict(texts)
    for key, patterns in rule.match.items():
        known = texts.get(key, frozenset({frozenset[str]()}))
        narrowed[key] = frozenset(
            fitting | {pattern} for fitting in known for pattern in patterns if all(_meet(key, pattern, text) for text in fitting)
        )
        if not narrowed[key]:
            return None
    return narrowed


@lru_cache(maxsize=65_536)
def _overlap(key: str, patterns: tuple[str, ...], texts: tuple[str, ...]) -> bool:
    """Return whether one of the patterns and one of the others fit a text."""
    if not set(patterns).isdisjoint(texts):
        return True
    if key != "ip":  # two texts without a `*` are the same one or are apart
        wild, others = [text for text in patterns if "*" in text], [text for text in texts if "*" in text]
        return any(_meet(key, one, other) for one in wild for other in texts) or any(
            _meet(key, one, other) for one in others for other in patterns
        )
    return any(_meet(key, one, other) for one in patterns for other in texts)


def _go_together(one: LimitRule, other: LimitRule) -> bool:
    """Return whether a request could be counted by both."""
    if one.name == other.name:
        return False
    if not all(_overlap(key, patterns, other.match[key]) for key, patterns in one.match.items() if key in other.match):
        return False
    return not is_impossible((*one.per, *one.match, *other.per, *other.match))


def _meet(key: str, one: str, other: str) -> bool:
    """Return whether a text fits both patterns, in which ``*`` stands for any text; of a network and a pattern nobody looks."""
    if one == other:
        return True
    if key == "ip" and "*" not in one + other:
        network, around = _network(one), _network(other)
        return network is not None and around is not None and network.overlaps(around)
    if key == "ip" and "/" in one + other:
        return True
    for pattern, text in ((one, other), (other, one)):
        if "*" not in text:
            return "*" in pattern and _compiled(pattern).fullmatch(text) is not None
    begins = sorted((one.partition("*")[0], other.partition("*")[0]), key=len)
    ends = sorted((one.rpartition("*")[2], other.rpartition("*")[2]), key=len)
    return begins[1].startswith(begins[0]) and ends[1].endswith(ends[0])


_compiled = lru_cache(maxsize=4096)(compiled)


@lru_cache(maxsize=65_536)
def _network(text: str) -> IPv4Network | IPv6Network | None:
    """Return what an address or a network is; None: neither (``local``)."""
    try:
        return ip_network(network_key(text))
    except ValueError:
        return None
