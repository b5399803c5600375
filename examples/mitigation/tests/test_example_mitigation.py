"""The rules that every mitigation keeps, and what this one does."""

from dorib.testing.conformance.pytest_class import Conformance


class TestConformance(Conformance):
    """All of `dorib check example-mitigation`, a test a rule."""

    kind = "mitigation"
    method = "example-mitigation"


def test_a_factor_of_one_changes_nothing(random_suite: str) -> None:
    """The identity, to the byte."""
    import torch
    from dorib_example_mitigation import ExampleMitigationParams
    from dorib_example_mitigation.mitigation import ExampleMitigation

    import dorib

    model = dorib.load_model(random_suite, device="cpu")
    method = ExampleMitigation(ExampleMitigationParams(factor=1))
    edit = method.fit(model, dorib.DefenderView([], []), dorib.Seeds(), dorib.Ledger())
    embeddings = model.encode_prompt(["a star"])
    samples = torch.tensor([0])
    plain = model.sample(embeddings, [torch.Generator()], samples)
    with model.edited(edit):
        assert torch.equal(model.sample(embeddings, [torch.Generator()], samples), plain)
