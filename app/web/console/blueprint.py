"""The console's blueprint; every module of this folder hangs its pages on it."""

from flask import Blueprint

console = Blueprint("console", __name__)
