"""Put the Console's plugins where a Console finds them, and take them away again."""

from nnabla_influence.installation.installing import Installing
from nnabla_influence.installation.places import Place, recognise
from nnabla_influence.installation.uninstalling import Uninstalling

__all__ = ["Installing", "Place", "Uninstalling", "recognise"]
