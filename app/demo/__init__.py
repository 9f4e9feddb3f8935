"""The demo: a group whose homes use what real homes used, on a clock that can be moved.

Nothing in here is a rule of the product: seeds go through the same use-cases as operators, the story looks at the
same tables as the console. It exists only while demo groups are alone in the database.
"""
