"""Models that write to the columns that they are given."""


def plus_one(x):
    x += 1
    return x


def sorted_in_place(x):
    x.sort(axis=1)
    return {"y": x}


def through_a_list(x):
    x[:] = x[:, ::-1]
    return x


def unwilling(x):
    raise ValueError("this database is read-only")
