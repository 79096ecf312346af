"""The container runtime's folders: our configuration in its place (`files`), and what else is there (`installed`).

`core.node.conflist` says what the configuration is.
"""

from cloudroute.adapters.cni.files import Files
from cloudroute.adapters.cni.installed import find_plugins, leases_of_others, shadowing

__all__ = ["Files", "find_plugins", "leases_of_others", "shadowing"]
