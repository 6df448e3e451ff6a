import pytest
from jsonargparse import ArgumentParser, Namespace

from anychan.verbs import catalog, data, deploy, training
from anychan.verbs.verb import Verb, group


def test_no_verb_is_there_twice_and_each_has_one_sentence() -> None:
    tables = [catalog.VERBS, data.VERBS, deploy.VERBS, training.VERBS]
    names = [name for table in tables for name in table]
    assert len(set(names)) == len(names)
    for table in tables:
        assert all(verb.purpose.endswith(".") and verb.purpose.count(".") == 1 for verb in table.values())


def test_a_group_runs_the_verb_that_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    ran: list[tuple[str, int]] = []

    def verb(name: str) -> Verb:
        def add_options(parser: ArgumentParser) -> None:
            parser.add_argument("--times", type=int, default=1)

        return Verb(lambda options: ran.append((name, options.times)), f"Does {name}.", add_options)

    both = group("Does one of two.", {"one": verb("one"), "two": verb("two")})
    outer = ArgumentParser()
    verbs = outer.add_subcommands(required=True, dest="subcommand")
    inner = ArgumentParser()
    verbs.add_subcommand("both", inner)
    both.add_options(inner)
    options: Namespace = outer.parse_args(["both", "two", "--times", "3"])
    both.run(options["both"])
    assert ran == [("two", 3)]
    with pytest.raises(SystemExit):
        outer.parse_args(["both", "--help"])
    assert "Does one." in capsys.readouterr().out
