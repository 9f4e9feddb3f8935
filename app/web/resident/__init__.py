"""The residents' own page 住户页面: for a phone, behind the property's address on the notice board."""

from app.web.resident import home, sign_in
from app.web.resident.blueprint import resident

__all__ = ["home", "resident", "sign_in"]
