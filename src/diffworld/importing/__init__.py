"""Other people's recordings as data sets: what formats there are, what was pressed, which frame belongs to it."""

from diffworld.importing.actions import KeyMap
from diffworld.importing.formats import FormatName, find_recordings
from diffworld.importing.plan import Cut
from diffworld.importing.sizes import parse_size
from diffworld.importing.split import set_aside
from diffworld.importing.survey import Settings
from diffworld.importing.writer import Summary, import_data
