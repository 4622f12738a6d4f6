-- Kinds of revocations come one release before they are used; what a newer release writes must not stop an older one.
alter table revocation drop constraint revocation_kind_check;
alter table revocation add constraint revocation_kind_check check (kind > 0);
