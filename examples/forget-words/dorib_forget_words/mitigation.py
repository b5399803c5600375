"""The mitigation."""

from collections.abc import Sequence

from dorib import (
    DefenderView,
    DoribError,
    Edit,
    Ledger,
    Mitigation,
    ReplaceWeights,
    Seeds,
    TargetModel,
)
from dorib_forget_words import ForgetWordsParams

TABLE = "token_embedding.weight"
"""What the parameter of the token vectors is called in every CLIP text encoder."""


class ForgetWords(Mitigation[ForgetWordsParams]):
    """Moves the vectors of such tokens towards the mean of the vocabulary."""

    def fit(self, model: TargetModel, view: DefenderView, seeds: Seeds, ledger: Ledger) -> Edit:
        """New tables of token vectors, of all text encoders alike.

        Raises:
            DoribError: general captions have all tokens of the memorized ones.
        """
        memorized = _tokens(model, [target.caption for target in view.memorized])
        forgotten = sorted(memorized - _tokens(model, view.general_captions))
        if not forgotten:
            raise DoribError(
                "mitigation forget-words: the general captions have every token of the memorized "
                "captions, so that there is none to forget; choose another mitigation"
            )
        changed = {}
        for component in model.token_embeddings():
            for name, weight in model.weights(component).items():
                if name.endswith(TABLE):
                    table = weight.clone()
                    mean = table.float().mean(0)
                    moved = mean + self.params.kept * (table[forgotten].float() - mean)
                    table[forgotten] = moved.to(table)
                    changed[f"{component}.{name}"] = table
        return Edit(ReplaceWeights(changed))


def _tokens(model: TargetModel, captions: Sequence[str]) -> set[int]:
    """The token ids of all captions, without begin, end and padding."""
    tokens = model.tokenize(captions)
    return {
        token
        for row, length in zip(tokens.ids.tolist(), tokens.lengths.tolist(), strict=True)
        for token in row[1 : length - 1]
    }
