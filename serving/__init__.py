"""The HTTP process: ingest, feeds, items, models, health and the page.

Reads run through `create_app` (serving.app); what it needs from the other rooms stands in `serving.parts`.
"""
