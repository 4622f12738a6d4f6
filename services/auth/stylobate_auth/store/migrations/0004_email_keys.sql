-- Addresses are compared with the ASCII letters of the local part in lower case and the domain as it is kept, and no longer by case
-- folding, which joined two mailboxes into one (`straße@`, `strasse@`). What case folding told apart stays apart, so no key can be
-- taken. Addresses in ASCII keep their key. The collation "C" lowers ASCII letters only.
update account
set email_key = lower(left(email, -position('@' in reverse(email))) collate "C") || '@' || right(email, position('@' in reverse(email)) - 1)
where email_key
    <> lower(left(email, -position('@' in reverse(email))) collate "C") || '@' || right(email, position('@' in reverse(email)) - 1);
