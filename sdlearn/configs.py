"""What U-Net, autoencoder and text encoder share in reading a `config.json`."""


def fill(config, defaults, only, remarks, what):
    """defaults with the settings of a config.json (a dict) put in.

    only: settings that are built in one form. remarks: names that change nothing here, as those
    that begin with "_" do not. Raises ValueError that names any other; `what` it is the file of.
    """
    full = dict(defaults)
    for name, value in config.items():
        if name in full:
            full[name] = value
        elif name in only:
            if value != only[name]:
                raise ValueError(f"{name} = {value!r} is not built here, only {only[name]!r}")
        elif name not in remarks and not name.startswith("_"):
            raise ValueError(f"the setting {name!r} is not known: is this {what} config.json?")
    return full
