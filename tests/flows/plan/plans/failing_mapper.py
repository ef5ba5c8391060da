"""A mapper's file that cannot be loaded."""

import a_module_that_nobody_has  # noqa: F401
