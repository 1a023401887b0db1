"""The small text encoder: what it reads, what it passes over, and where a word is."""

from __future__ import annotations

import pytest
import torch

from tasks.diffusion.text_backbone import WordEncoder, words_of

PROMPTS = ["a bottle", "a bottle with broken large", "a bottle with contamination"]


@pytest.fixture(scope="module")
def encoder() -> WordEncoder:
    torch.manual_seed(0)
    return WordEncoder(PROMPTS)


def test_underscores_and_capitals_are_of_no_matter() -> None:
    assert words_of("A Bottle, with broken_large #2") == ["a", "bottle", "with", "broken", "large", "2"]


def test_unknown_words_are_passed_over(encoder: WordEncoder) -> None:
    plain, described = encoder(["a bottle with contamination", "a shiny bottle stained with dark contamination"])
    assert torch.equal(plain, described)


def test_known_words_make_a_difference_and_so_does_their_order(encoder: WordEncoder) -> None:
    tokens = encoder([*PROMPTS, "a broken bottle", "a bottle broken", ""])
    assert all(not torch.equal(a, b) for i, a in enumerate(tokens) for b in tokens[:i])


def test_a_word_is_found_at_its_tokens(encoder: WordEncoder) -> None:
    assert encoder.place_of(PROMPTS[1], "broken_large") == [4, 5]
    token = encoder([PROMPTS[1]])[0, 4]
    assert torch.equal(token, encoder.word.weight[encoder.index["broken"]] + encoder.position.weight[4])
    assert encoder.place_of(PROMPTS[0], "broken large") == []
    assert encoder.place_of(PROMPTS[1], "shiny") == []


def test_an_unknown_word_before_it_does_not_shift_a_place(encoder: WordEncoder) -> None:
    prompt = "a very dirty bottle with contamination"
    assert encoder.place_of(prompt, "contamination") == [4]
    assert torch.equal(encoder([prompt])[0, 4], encoder([PROMPTS[2]])[0, 4])


def test_a_prompt_longer_than_any_known_one_is_cut(encoder: WordEncoder) -> None:
    tokens = encoder([" ".join(["bottle"] * 50)])
    assert tokens.shape == (1, encoder.length, encoder.width)
    assert encoder.place_of(" ".join(["bottle"] * 50), "bottle") == list(range(1, encoder.length))
