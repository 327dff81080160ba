"""Message formats by name: what turns one record into points, or into a reason why not."""

from daemon.formats.json import JsonFormat
from daemon.formats.point import Format, Malformed, Point
from daemon.formats.telegraf import TelegrafFormat

__all__ = ["Format", "JsonFormat", "Malformed", "Point", "TelegrafFormat"]
