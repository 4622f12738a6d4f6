"""The ``stylobate`` command: placement of services in processes, embedded servers, supervision."""
