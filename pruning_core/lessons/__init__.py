"""The course: lessons that teach pruning by doing, on the bundled networks.

A lesson is one file in ``course/``: its controls, its calls of the core and its pictures. Its words
lie apart, one file a language, in ``texts/``.
"""

from pruning_core.lessons.lesson import CHAPTERS, LESSONS, Lesson, in_order
from pruning_core.registry import import_plugins

import_plugins("pruning_core.lessons.course")

__all__ = ["CHAPTERS", "LESSONS", "Lesson", "in_order"]
