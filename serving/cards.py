"""An item as the page shows it: id, title, picture, score, and what brought it."""

from consumers.catalog.catalog import Catalog
from models.memory.blend import Part
from serving.pictures import image_url
from serving.schemas import FeedItem


def card(
    catalog: Catalog, item_id: str, score: float | None, *, is_new: bool = False, brought_by: Part | None = None
) -> FeedItem:
    """One item of a feed. An item removed a moment ago shows its id as its title."""
    item = catalog.get(item_id)
    title = item.title if item is not None and item.title else item_id
    return FeedItem(
        item_id=item_id,
        title=title,
        image_url=image_url(item.image) if item is not None else None,
        score=score,
        is_new=is_new,
        brought_by=brought_by,
    )
