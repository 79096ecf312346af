"""The settings: declaration of a field (`declare`), parsers of values (`values`), all fields (`settings`), rules over
several of them (`relations`), and sources of values (`load`). All violations are reported at once.
"""

from cloudroute.config.declare import Setting, Settings, setting, settings_of
from cloudroute.config.load import CONFIG_FLAG, Loaded, load, suggestion
from cloudroute.config.relations import check_against_vpc, check_overlap
from cloudroute.config.settings import AgentSettings, ControllerSettings, OutputSettings, SharedSettings
from cloudroute.config.values import Address

__all__ = [
    "CONFIG_FLAG",
    "Address",
    "AgentSettings",
    "ControllerSettings",
    "Loaded",
    "OutputSettings",
    "Setting",
    "Settings",
    "SharedSettings",
    "check_against_vpc",
    "check_overlap",
    "load",
    "setting",
    "settings_of",
    "suggestion",
]
