"""A bundle of any kind to a ranker."""

from models.content.table import ContentTable
from models.encoder_scorer import EncoderScorer, load_model
from models.ranker import Ranker
from models.registry.bundle import ENCODER_KIND, Bundle, UnknownKind
from models.rivals.served import LOADERS, load_served
from models.scorer import Scorer

KINDS = (ENCODER_KIND, *LOADERS)


def load_ranker(bundle: Bundle, content: ContentTable) -> Ranker:
    """Read a bundle and place every item of `content`.

    Raises:
        UnknownKind: this release knows no such model.
        DamagedBundle: the weights do not fit the configuration in the manifest.
        ContentError: the content has other widths than the model was trained on.
    """
    ranker = Ranker(_scorer(bundle), bundle.manifest)
    ranker.add_items(content)
    return ranker


def _scorer(bundle: Bundle) -> Scorer:
    kind = bundle.manifest.kind
    if kind == ENCODER_KIND:
        return EncoderScorer(*load_model(bundle))
    if kind in LOADERS:
        return load_served(bundle)
    raise UnknownKind(
        f"model version {bundle.manifest.version} is of kind {kind!r}, this release serves {', '.join(KINDS)}; "
        "promote another one (`freshet models promote VERSION`)"
    )
