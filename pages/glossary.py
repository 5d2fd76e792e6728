"""Every word of the app, from the glossary of the project and the registries of the core."""

from pages.common import learn_glossary, shell

shell.enter()
learn_glossary.show()
