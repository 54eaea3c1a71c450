"""Networks (Detectron2 layer). Importing this package registers backbone and meta-architecture."""

from unilabel.modeling import backbone, meta_arch  # noqa: F401
