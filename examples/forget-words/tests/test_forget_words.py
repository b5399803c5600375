"""The rules that every mitigation keeps, and what this one does."""

import torch
from dorib_forget_words import ForgetWordsParams
from dorib_forget_words.mitigation import ForgetWords

import dorib
from dorib.testing.conformance.pytest_class import Conformance


class TestConformance(Conformance):
    """All of `dorib check forget-words`, a test a rule."""

    kind = "mitigation"
    method = "forget-words"


def test_only_what_is_said_of_memorized_images_alone_is_forgotten(random_suite: str) -> None:
    """A general caption is encoded as before; two forgotten words are told apart no more."""
    model = dorib.load_model(random_suite, device="cpu")
    captions = ["ab", "ac"]
    targets = [dorib.Target(c, i, c, torch.zeros(3, 32, 32)) for i, c in enumerate(captions)]
    view = dorib.DefenderView(targets, ["a view"])
    method = ForgetWords(ForgetWordsParams())
    edit = method.fit(model, view, dorib.Seeds(), dorib.Ledger())
    general = model.encode_prompt(["a view"])["prompt_embeds"]
    before = model.encode_prompt(captions)["prompt_embeds"]
    assert not torch.allclose(before[0], before[1])
    with model.edited(edit):
        assert torch.equal(model.encode_prompt(["a view"])["prompt_embeds"], general)
        after = model.encode_prompt(captions)["prompt_embeds"]
    torch.testing.assert_close(after[0], after[1])
