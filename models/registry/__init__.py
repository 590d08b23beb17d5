"""Model versions: immutable bundles and one pointer."""
