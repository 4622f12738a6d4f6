"""The permissions that the platform itself asks for. Modules declare theirs; a role in the database may hold both."""

from collections.abc import Mapping

PLATFORM_PERMISSIONS: Mapping[str, str] = {
    "access:read": "Ask what others may do, and why",
    "api_keys:read": "See API keys of others",
    "api_keys:write": "Make and end API keys of others",
    "audit:read": "Read audit records",
    "bans:read": "See bans",
    "bans:write": "Ban, and lift bans",
    "grants:read": "See what is granted to others on single resources",
    "grants:write": "Grant permissions on single resources, and take them away",
    "limits:read": "See how others stand at limits",
    "limits:write": "Give limits back",
    "roles:assign": "Give roles to accounts and take them away",
    "roles:read": "See roles, and which accounts hold them",
    "roles:write": "Make, change and delete roles",
    "service_accounts:read": "See service accounts",
    "service_accounts:write": "Make and delete service accounts",
    "signing_keys:read": "See the keys that sign access tokens",
    "signing_keys:write": "Exchange the keys that sign access tokens",
    "tokens:introspect": "Learn how any token stands",
    "users:create": "Make accounts",
    "users:delete": "Delete accounts of others",
    "users:export": "Export all that is kept of others",
    "users:read": "See accounts of others",
    "users:write": "Change and disable accounts of others",
}
