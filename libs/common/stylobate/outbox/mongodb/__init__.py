"""Events in MongoDB, on the migrations of ``stylobate.outbox``."""

from stylobate.outbox.mongodb.log import MongoEventLog
from stylobate.outbox.mongodb.numbering import MongoNumbering
from stylobate.outbox.mongodb.outbox import MongoOutbox, event_document

__all__ = ["MongoEventLog", "MongoNumbering", "MongoOutbox", "event_document"]
