from anychan.verbs import catalog, deploy, training


def test_no_verb_is_there_twice_and_each_has_one_sentence() -> None:
    tables = [catalog.VERBS, deploy.VERBS, training.VERBS]
    names = [name for table in tables for name in table]
    assert len(set(names)) == len(names)
    for table in tables:
        assert all(verb.purpose.endswith(".") and verb.purpose.count(".") == 1 for verb in table.values())
