"""The body of PUT /v1/items/{id}: JSON, or multipart/form-data with the picture."""

import json

from fastapi import Request
from pydantic import ValidationError
from starlette.datastructures import FormData, UploadFile

from serving.errors import Problem
from serving.field_errors import FieldError, field_errors
from serving.media_type import media_type, not_read
from serving.schemas import ItemIn
from serving.state import Serving
from stream.images import MAX_IMAGE_BYTES, MAX_IMAGE_PIXELS, BadImage, ImageStore

TEXT_FIELDS = ("title", "text", "attributes", "ts_ms")
NOT_STORED = "no such picture is stored; PUT the item as multipart/form-data with it"
MAX_PART_BYTES = 1_000_000  # of one text field
_json_schema = ItemIn.model_json_schema()
_form_schema = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "title": {"type": "string"},
        "text": {"type": "string"},
        "attributes": {"type": "string", "description": "a JSON object of texts"},
        "ts_ms": {"type": "string", "description": "milliseconds since 1970"},
        "image": {"type": "string", "format": "binary"},
    },
}
ITEM_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": _json_schema},
            "multipart/form-data": {"schema": _form_schema},
        },
    }
}


async def read_item(request: Request, serving: Serving) -> ItemIn:
    """The item a client sent; its picture is checked and stored.

    Raises:
        Problem: 415 for another content type, 422 for a field or a picture that is not valid.
    """
    sent = media_type(request)
    if sent == "application/json":
        item = _item(await request.body())
        await _check_reference(item, serving)
        return item
    if sent == "multipart/form-data":
        async with request.form(max_files=1, max_fields=len(TEXT_FIELDS), max_part_size=MAX_PART_BYTES) as form:
            return await _read_form(form, serving)
    raise not_read(sent, "application/json or multipart/form-data")


async def _read_form(form: FormData, serving: Serving) -> ItemIn:
    fields: dict[str, object] = {}
    for name, value in form.multi_items():
        if isinstance(value, UploadFile) != (name == "image"):
            wanted = "a file" if name == "image" else "text"
            raise Problem(422, f"{name[:80]}: the part must be {wanted}", field=name[:80])
        if isinstance(value, str):
            fields[name] = _typed(name, value)
    item = _item(json.dumps(fields).encode())
    upload = form.get("image")
    if not isinstance(upload, UploadFile):
        return item
    ref = await serving.pool.run(store_picture, serving, await upload.read())
    return item.model_copy(update={"image": ref})


def _typed(name: str, text: str) -> object:
    """A form's text as the JSON value it stands for; as it is when it stands for none."""
    if name not in ("attributes", "ts_ms"):
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _item(raw: bytes) -> ItemIn:
    try:
        return ItemIn.model_validate_json(raw)
    except ValidationError as exc:
        raise Problem.of_fields(field_errors(exc.errors(include_url=False))) from exc


async def _check_reference(item: ItemIn, serving: Serving) -> None:
    if item.image is not None and not await serving.pool.run(is_picture_stored, item, serving.parts.images):
        raise Problem.of_fields([FieldError("image", NOT_STORED)])


def is_picture_stored(item: ItemIn, images: ImageStore) -> bool:
    """Whether the picture an item refers to is there, or it refers to none; blocks."""
    return item.image is None or images.path(item.image).is_file()


def store_picture(serving: Serving, data: bytes) -> str:
    """Check a picture and store it; blocks.

    Returns:
        Its reference.

    Raises:
        Problem: 422, not a picture or too large; 503, the disk refuses.
    """
    try:
        return serving.parts.images.put(data)
    except BadImage as exc:
        limit = f"{MAX_IMAGE_BYTES} bytes, {MAX_IMAGE_PIXELS} pixels"
        raise Problem(422, f"image: {exc}", field="image", limit=limit) from exc
    except OSError as exc:
        raise Problem(503, f"the picture cannot be stored: {exc}; free space, then send it again") from exc
