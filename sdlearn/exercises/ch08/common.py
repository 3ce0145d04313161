"""What exercises of chapter 08 share."""


def scan(symbols, pair, joined=None, step=2, stop=False):
    """merge by index: what is put in place of the pair, how far to go on, whether to end there."""
    merged, i = [], 0
    while i < len(symbols):
        if tuple(symbols[i : i + 2]) == pair:
            merged += [pair[0] + pair[1]] if joined is None else joined(pair)
            i += step
            if stop:
                return merged + symbols[i:]
        else:
            merged.append(symbols[i])
            i += 1
    return merged
