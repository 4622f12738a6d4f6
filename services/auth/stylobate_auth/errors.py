"""What auth refuses, one class per reason."""

import grpc
from stylobate.errors import NotFoundError, PermissionDeniedError, StylobateError, UnauthenticatedError, UnavailableError


class AuthInvalidInputError(StylobateError):
    """An account's data does not have the form asked for; one violation per finding."""

    code = grpc.StatusCode.INVALID_ARGUMENT
    reason = "AUTH_INVALID_INPUT"
    default_detail = "The account's data is not valid."
    cure = "Read `errors`: each entry names a field and what is wrong with it."


class AccountUnreadableError(StylobateError):
    """An encrypted address or name of the account cannot be opened: it was changed from outside, or its key is gone."""

    code = grpc.StatusCode.DATA_LOSS
    reason = "AUTH_ACCOUNT_UNREADABLE"
    cure = (
        "Give the request id to the operator: the log (`account_unreadable`) names the account, `stylobate keys status` the keys."
    )

    def __init__(self, account_id: str) -> None:
        super().__init__("The account cannot be read.", metadata={"account_id": account_id})


class AccountKeyUnavailableError(UnavailableError):
    """The key that addresses are encrypted with cannot be had at the moment; nothing was written."""

    reason = "AUTH_ACCOUNT_KEY_UNAVAILABLE"
    cure = (
        "Try again after the time in Retry-After. When it persists, this process lacks the key-encryption key: "
        "STYLOBATE_AUTH_ENCRYPTION_KEY must be the same everywhere."
    )

    def __init__(self) -> None:
        super().__init__("The key of accounts cannot be had at the moment.")


class EmailTakenError(StylobateError):
    """Another account has the address."""

    code = grpc.StatusCode.ALREADY_EXISTS
    reason = "AUTH_EMAIL_TAKEN"
    default_detail = "There is an account with this address already."
    cure = "Log in with it, or use another address."


class RegistrationClosedError(PermissionDeniedError):
    """Accounts are not made by registering here."""

    reason = "REGISTRATION_CLOSED"
    default_detail = "Registration is closed."
    cure = "Ask an administrator for an account (`stylobate users create`), or set STYLOBATE_AUTH_REGISTRATION=open or =verified."


class InvalidCredentialsError(UnauthenticatedError):
    """No account with this address and password; which of the two is not said."""

    reason = "AUTH_INVALID_CREDENTIALS"
    default_detail = "The address or the password is wrong."
    cure = "Check both and try again."


class EmailNotVerifiedError(PermissionDeniedError):
    """The password is right, and nobody has proven yet that the account's address is theirs. Told to nobody else."""

    reason = "AUTH_EMAIL_NOT_VERIFIED"
    default_detail = "The address of the account is not proven yet."
    cure = "Use the token of the mail that was sent there. Whoever asks for another password gets one that proves it too."


class AccountDisabledError(PermissionDeniedError):
    """The password is right, and an administrator has disabled the account. Told to nobody else."""

    reason = "AUTH_ACCOUNT_DISABLED"
    default_detail = "The account is disabled."
    cure = "Ask an administrator; `stylobate users enable` lets its owner in again."


class LoginNotFreshError(PermissionDeniedError):
    """What is asked for takes a session whose owner logged in a moment ago; a token alone is not enough."""

    reason = "AUTH_LOGIN_NOT_FRESH"
    default_detail = "This takes a login of a moment ago."
    cure = "Log in again and ask with that session; `metadata.max_age` says how many seconds its login holds for this."


class LastAdministratorError(StylobateError):
    """Nobody would be left who may do everything."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "AUTH_LAST_ADMINISTRATOR"
    default_detail = "This is the last administrator."
    cure = "Make another one first: `stylobate users create <email> --admin`, or `stylobate users roles add <id> admin`."


class AdministratorExistsError(StylobateError):
    """There is an administrator, so nobody is invited to become the first one."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "AUTH_ADMINISTRATOR_EXISTS"
    default_detail = "There is an administrator already."
    cure = "Ask them for the role, or use `stylobate users create <email> --admin` or `stylobate users roles add <id> admin`."


class InvitationInvalidError(StylobateError):
    """The invitation of the first administrator is unknown, was used, or is over, or there is one by now; which is not said."""

    code = grpc.StatusCode.INVALID_ARGUMENT
    reason = "AUTH_INVITATION_INVALID"
    default_detail = "The link does not work any more."
    cure = "`stylobate users invite-admin` makes another one, as long as there is no administrator."


class PasswordWrongError(PermissionDeniedError):
    """What was sent as the account's present password is not. 403, since the token that came with it is a good one."""

    reason = "AUTH_PASSWORD_WRONG"
    default_detail = "The current password is wrong."
    cure = "Check it and try again; who forgot it resets it."


class MailTokenInvalidError(StylobateError):
    """The token of a mail is unknown, was used before, or its time is over; which of them is not said."""

    code = grpc.StatusCode.INVALID_ARGUMENT
    reason = "AUTH_MAIL_TOKEN_INVALID"
    default_detail = "The link does not work any more."
    cure = "Ask for another mail; each one's token works once, and for a time."


class NoMailError(StylobateError):
    """No mail server is set, so no mail can be sent."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "AUTH_NO_MAIL"
    default_detail = "Mail is not set up here."
    cure = (
        "Whoever runs the platform sets STYLOBATE_AUTH_SMTP_HOST and STYLOBATE_AUTH_MAIL_FROM, or changes the account otherwise."
    )


class SessionNotFoundError(NotFoundError):
    """The caller's account has no session of that id that lives."""

    reason = "AUTH_SESSION_NOT_FOUND"
    default_detail = "There is no such session."
    cure = "List the sessions; one that is over is not there any more."


class RefreshInvalidError(UnauthenticatedError):
    """A refresh token that is unknown, expired, or of a session that is over."""

    reason = "AUTH_REFRESH_INVALID"
    default_detail = "The refresh token is not valid."
    cure = "Log in again."


class RefreshReusedError(UnauthenticatedError):
    """A refresh token came again long after its use: whoever holds the other copy may be a thief, so the session is over."""

    reason = "AUTH_REFRESH_REUSED"
    default_detail = "The refresh token was used before; its session has been ended."
    cure = (
        "Log in again. A client must keep the newest refresh token; one that was used can be sent again for 5 s, and not later."
    )


class HashingBusyError(UnavailableError):
    """More logins at once than the cores can check passwords for."""

    reason = "AUTH_BUSY"
    default_detail = "Too many logins at this moment."


class AccountUnknownError(NotFoundError):
    """There is no account with the id."""

    reason = "AUTH_ACCOUNT_UNKNOWN"
    default_detail = "There is no such account."
    cure = "Look up the account's id."


class RoleUnknownError(NotFoundError):
    """No role has this name."""

    reason = "AUTH_ROLE_UNKNOWN"
    default_detail = "There is no such role."
    cure = "Check the name: `stylobate roles list` shows all."


class RoleDeclaredError(StylobateError):
    """A role that modules declare, or a builtin one: what it permits stands in their files."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "AUTH_ROLE_DECLARED"
    default_detail = "Modules declare this role, or it is builtin: it cannot be changed here."
    cure = "Change the module, or make a role of another name that inherits from it."


class RoleInheritedError(StylobateError):
    """A role that others inherit from."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "AUTH_ROLE_INHERITED"
    default_detail = "Other roles inherit from it."
    cure = "Take it from the roles that the answer names first."


class GrantUnknownError(StylobateError):
    """A grant that there is none of."""

    code = grpc.StatusCode.NOT_FOUND
    reason = "AUTH_GRANT_UNKNOWN"
    default_detail = "There is no such grant."
    cure = "`GET /v1/grants` lists them; subject, permission and resource must be those of one."


class RoleNotHeldError(NotFoundError):
    """The account does not hold the role."""

    reason = "AUTH_ROLE_NOT_HELD"
    default_detail = "The account does not hold this role."
    cure = "List the account's roles; one that has ended is not there any more."


class RoleKeptError(StylobateError):
    """``user``, which every account of a person holds, is taken away or given an end."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "AUTH_ROLE_KEPT"
    default_detail = "Every account of a person holds `user`."
    cure = "Disable the account, where nobody is to get in."


class ApiKeyUnknownError(NotFoundError):
    """There is no API key with the id."""

    reason = "API_KEY_UNKNOWN"
    default_detail = "There is no such API key."
    cure = "List the keys; what is over is kept for 30 days."


class ApiKeyOverError(StylobateError):
    """An API key that cannot be exchanged any more."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "API_KEY_OVER"
    default_detail = "The API key is revoked, expired, or was rotated before."
    cure = "Rotate its successor, or make another key."


class ApiKeysTooManyError(StylobateError):
    """An account with as many API keys as it may have."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "API_KEY_TOO_MANY"
    default_detail = "The account has as many API keys as it may have."
    cure = "Revoke keys that nobody uses, or raise STYLOBATE_AUTH_API_KEYS_PER_ACCOUNT."


class PublicKeyTakenError(StylobateError):
    """A public key that the account has already, also during the overlap after it was exchanged."""

    code = grpc.StatusCode.ALREADY_EXISTS
    reason = "API_KEY_PUBLIC_KEY_TAKEN"
    default_detail = "The account has this public key already."
    cure = "Make another pair of keys, and register its public half."


class OAuthRequestError(StylobateError):
    """A request at an OAuth endpoint that cannot be understood (RFC 6749 §5.2)."""

    code = grpc.StatusCode.INVALID_ARGUMENT
    reason = "OAUTH_INVALID_REQUEST"
    default_detail = "A parameter is missing, stands twice or cannot be read."
    cure = "Send a form with the parameters of RFC 6749."


class OAuthClientError(UnauthenticatedError):
    """No such client, or not with this secret; which of them is not said."""

    reason = "OAUTH_INVALID_CLIENT"
    default_detail = "The client or its secret is not known, or the secret does not hold any more."
    cure = (
        "The client's id is that of a service account, its secret one of that account's API keys that holds. What it signs is "
        "for the issuer or the token endpoint, ends within an hour, and is used once."
    )


class OAuthGrantError(StylobateError):
    """A refresh token that does not hold, or belongs to another client."""

    code = grpc.StatusCode.INVALID_ARGUMENT
    reason = "OAUTH_INVALID_GRANT"
    default_detail = "The refresh token does not hold."
    cure = "Log in again."


class OAuthScopeError(StylobateError):
    """A scope that the client's key does not cover, or a key without any."""

    code = grpc.StatusCode.INVALID_ARGUMENT
    reason = "OAUTH_INVALID_SCOPE"
    default_detail = "The client's key does not cover this scope."
    cure = "Ask for scopes of the key, or make a key that has them."


class OAuthGrantTypeError(StylobateError):
    """A grant type that is not known here."""

    code = grpc.StatusCode.INVALID_ARGUMENT
    reason = "OAUTH_UNSUPPORTED_GRANT_TYPE"
    default_detail = "The grant types are client_credentials and refresh_token."
    cure = "Use one of these; people log in at /v1/auth/login."
