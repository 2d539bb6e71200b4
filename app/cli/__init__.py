"""The command line. `application.py` lists the commands; importing this package loads none of them."""


def main() -> None:
    """Run the command that the arguments of the process name."""
    from app.cli import application

    application.main()
