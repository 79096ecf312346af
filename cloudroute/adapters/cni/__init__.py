"""The container runtime's folders: our configuration (`files`), plugins and other networks (`installed`).

`core.node.conflist` makes the configuration.
"""

from cloudroute.adapters.cni.files import Files
from cloudroute.adapters.cni.installed import find_plugins, leases_of_others, shadowing

__all__ = ["Files", "find_plugins", "leases_of_others", "shadowing"]
