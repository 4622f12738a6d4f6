"""The actions service: modules, their actions, their hooks."""
