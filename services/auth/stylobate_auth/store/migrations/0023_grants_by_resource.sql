-- Who is granted something on a resource. By its hash: an index in the order of resources would be taken for reading what one
-- subject is granted, in that order and through the grants of all others.
drop index resource_grant_by_resource;
create index resource_grant_on_resource on resource_grant using hash (resource);
