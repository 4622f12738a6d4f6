"""What of a machine is probably not meant, and the diagram of one."""

import pytest
from stylobate.declarations.diagram import diagram

MODULE = 'name: shop\nversion: "1"\n'
HEAD = "namespaces:\n  orders:\n    initial: pending\n    access: { write: public }\n    transitions:\n"


@pytest.mark.parametrize(
    "transitions",
    [
        "      pay: { from: pending, to: paid }\n",
        "      on: { from: pending, to: lit }\n      off: { from: lit, to: pending }\n",
        "      pay: { from: pending, to: paid, access: '' }\n    timers: [{ in: pending, after: 1m, event: pay }]\n",
    ],
)
def test_what_makes_sense_is_no_finding(modules, transitions):
    """A status that nothing leaves is where objects end; a machine without one goes round; a timer fires for nobody."""
    modules.write("shop", module=MODULE, states=HEAD + transitions)
    assert [str(finding) for finding in modules.load().findings if finding.severity == "warning"] == []


@pytest.mark.parametrize(
    ("transitions", "line", "message"),
    [
        (
            "      pay: { from: pending, to: paid }\n      h: { from: pending, to: held }\n      a: { from: held, to: held }\n",
            7,
            "an object in `held` never comes to an end, though others do",
        ),
        (
            "      pay: { from: pending, to: paid }\n    # nobody\n",
            6,
            "nobody can fire `pay`: `write`, which holds for it, lets nobody in, and no timer fires it",
        ),
    ],
)
def test_what_makes_no_sense_is_a_warning_at_its_line(modules, transitions, line, message):
    """Where objects are caught, and what nobody fires."""
    head = HEAD.replace("write: public", "read: public") if "# nobody" in transitions else HEAD
    modules.write("shop", module=MODULE, states=head + transitions)
    (finding,) = modules.load().findings
    assert (finding.severity, finding.line) == ("warning", line)
    assert message in finding.message


def test_the_diagram_of_a_machine(modules):
    """Statuses, events with their guards, timers and ends; names that Mermaid would misread have others there."""
    modules.write(
        "shop",
        module=MODULE,
        states=HEAD
        + "      pay: { from: [pending, on-hold], to: paid, guard: 'data.total > 0' }\n"
        + "      hold: { from: pending, to: on-hold }\n      stop: { from: on-hold, to: end }\n"
        + "    timers: [{ in: pending, after: 15m, event: hold }]\n",
    )
    declarations = modules.load()
    assert [str(finding) for finding in declarations.findings] == []
    assert diagram(declarations.namespaces["orders"]) == (
        "stateDiagram-v2\n"
        '    state "end" as end_\n'
        '    state "on-hold" as on_hold_\n'
        "    [*] --> pending\n"
        "    pending --> paid : pay [data.total #gt; 0]\n"
        "    on_hold_ --> paid : pay [data.total #gt; 0]\n"
        "    pending --> on_hold_ : hold\n"
        "    on_hold_ --> end_ : stop\n"
        "    pending --> on_hold_ : hold after 15m\n"
        "    end_ --> [*]\n"
        "    paid --> [*]\n"
    )
