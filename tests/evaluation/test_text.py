from anychan.evaluation.text import count_text, names_text


def test_counts_are_digits_or_powers() -> None:
    assert [count_text(2**channels - 1) for channels in (3, 13, 39, 40, 369)] == [
        "7",
        "8,191",
        "549,755,813,887",
        "2^40 - 1",
        "2^369 - 1",
    ]


def test_names_are_the_first_of_many() -> None:
    names = [f"b{number}" for number in range(369)]
    assert names_text(names[:8]) == "b0, b1, b2, b3, b4, b5, b6, b7"
    assert names_text(names) == "b0, b1, b2, b3, b4, b5, b6, b7 and 361 more"
