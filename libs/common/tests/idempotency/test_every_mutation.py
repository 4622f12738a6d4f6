"""Every mutation of every contract has the field for an idempotency key."""

from importlib import import_module
from pkgutil import walk_packages

from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions
from stylobate import api

WITHOUT = {
    "CheckLimits": "a charge on the path of every request; one that is sent twice errs on the safe side",
    "CallHook": "asked for its opinion of a change, which has the key; asked again for each try",
    "IssueToken": "another token is as good as the first; a refresh token that comes twice has rules of its own",
    "RevokeToken": "ends what may be over already, however often it is asked",
    "OpenProjection": "opens what is open, however often it is asked",
    "ApplyEvents": "applies events once, by their numbers",
    "MoveProjection": "notes a place, which is the same however often it is noted",
    "SweepProjection": "deletes what is left to be deleted, however often it is asked",
    "RebuildProjection": "begins anew, which twice is as good as once",
    "BeginAccountReencryption": "goes on with what is unfinished; else another key is as good as the first",
    "BeginStateReencryption": "goes on with what is unfinished; else another key is as good as the first",
    "ReencryptAccounts": "passes over what is encrypted with the newest key",
    "ReencryptStates": "passes over what is encrypted with the newest key",
    "EraseState": "takes away what is there, however often it is asked",
    "ForgetOwner": "does what was not done yet, however often it is asked",
    "ExportMe": "a read; it is recorded each time",
    "ExportUser": "a read; it is recorded each time",
    "ExportUserData": "a read",
    "ForgetUser": "tells modules again, which is what they expect",
    "ImportStates": "passes over what is there already in just that way",
    "ClearStates": "takes away what is left, however often it is asked",
    "MoveStates": "goes on where it was left, however often it is asked",
    "MigrateStates": "moves what was not moved yet, however often it is asked",
    "ReadEvents": "a read; a stream is opened anew by who reads it, from its own position",
    "WatchBans": "a read; a stream is opened anew by who reads it",
    "WatchRevocations": "a read; a stream is opened anew by who reads it",
    "WatchStates": "a read; a stream is opened anew by who reads it, from its own position",
}


def _methods() -> list[MethodDescriptor]:
    names = [module.name for module in walk_packages(api.__path__, f"{api.__name__}.") if module.name.endswith("_pb2")]
    files = [import_module(name).DESCRIPTOR for name in names]
    return [method for file in files for service in file.services_by_name.values() for method in service.methods]


def test_every_mutation_takes_a_key() -> None:
    """A method that is not marked as free of side effects has `idempotency_key`, or a reason in the list; no other has it."""
    methods = {method.name: method for method in _methods()}
    assert len(methods) > 20
    reads = {name for name, method in methods.items() if method.GetOptions().idempotency_level == MethodOptions.NO_SIDE_EFFECTS}
    takes = {name for name, method in methods.items() if "idempotency_key" in method.input_type.fields_by_name}
    assert takes == methods.keys() - reads - WITHOUT.keys()
    assert WITHOUT.keys() <= methods.keys() - reads
    tells = {name for name, method in methods.items() if "replayed" in method.output_type.fields_by_name}
    assert takes <= tells, "an answer says whether it is that of an earlier call"
    assert tells <= takes
